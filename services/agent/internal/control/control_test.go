package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kubus.dev/services/agent/internal/runtime"
)

// node is images without a runtime.
type node struct {
	mu     sync.Mutex
	images map[string]int64
	broken error
}

func (n *node) Images() []runtime.Image {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []runtime.Image
	for name, size := range n.images {
		out = append(out, runtime.Image{ID: "sha256:" + name, RepoTags: []string{name}, Size: size})
	}
	return out
}

func (n *node) PullImage(_ context.Context, ref string, creds []runtime.Credential, progress func(string)) (*runtime.Image, error) {
	progress("layer 1 of 1: fetching")
	if n.broken != nil || len(creds) > 0 {
		return nil, fmt.Errorf("%v, %v", n.broken, creds)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.images[ref] = 1
	return &runtime.Image{}, nil
}

func (n *node) ImportImages(_ context.Context, archive io.Reader, as string, progress func(string)) ([]string, error) {
	text, err := io.ReadAll(archive)
	if err != nil {
		return nil, err
	}
	progress("importing " + as)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.images[as] = int64(len(text))
	return []string{as}, n.broken
}

func (n *node) RemoveImage(_ context.Context, ref string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.images[ref]; !ok {
		return fmt.Errorf("image %s: %w", ref, runtime.ErrNotFound)
	}
	delete(n.images, ref)
	return nil
}

// serve runs a server on a node, and gives a client of it and how often it told of a change.
func serve(t *testing.T, n *node) (*Client, *int) {
	t.Helper()
	socket := Socket(t.TempDir())
	if err := os.WriteFile(socket, nil, 0o666); err != nil { // of an agent that was killed
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	changes := new(int)
	ended := make(chan error, 1)
	go func() { ended <- (&Server{Images: n, Changed: func() { *changes++ }}).Run(ctx, socket) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for {
		info, err := os.Stat(socket)
		if err == nil && info.Mode()&os.ModeSocket != 0 && info.Mode().Perm() == 0o600 {
			return NewClient(socket), changes
		}
		time.Sleep(time.Millisecond)
	}
}

func TestImagesComeAndGo(t *testing.T) {
	t.Parallel()
	n := &node{images: map[string]int64{}}
	c, changes := serve(t, n)
	var told []string
	tell := func(text string) { told = append(told, text) }
	if err := c.Pull(t.Context(), "r/a:1", tell); err != nil {
		t.Fatal(err)
	}
	archive := strings.Repeat("x", 3<<20)
	if names, err := c.Import(t.Context(), strings.NewReader(archive), "r/b:1 &?", tell); err != nil || fmt.Sprint(names) != "[r/b:1 &?]" {
		t.Fatal(names, err)
	}
	if got, want := fmt.Sprint(told), "[layer 1 of 1: fetching importing r/b:1 &?]"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
	list, err := c.List(t.Context())
	if err != nil || len(list) != 2 || n.images["r/b:1 &?"] != int64(len(archive)) {
		t.Errorf("listed %v, %v", list, err)
	}
	if err := c.Remove(t.Context(), "r/a:1"); err != nil {
		t.Error(err)
	}
	if err := c.Remove(t.Context(), "r/a:1"); err == nil || err.Error() != "image r/a:1: not found" {
		t.Errorf("removed again: %v", err)
	}
	if *changes != 3 {
		t.Errorf("%d changes were told", *changes)
	}
}

func TestFailuresAreTold(t *testing.T) {
	t.Parallel()
	n := &node{images: map[string]int64{}, broken: errors.New("no such luck")}
	c, _ := serve(t, n)
	if err := c.Pull(t.Context(), "r/a:1", func(string) {}); err == nil || !strings.Contains(err.Error(), "no such luck") {
		t.Errorf("pulled: %v", err)
	}
	names, err := c.Import(t.Context(), strings.NewReader(""), "r/b:1", func(string) {})
	if err == nil || err.Error() != "no such luck" || len(names) != 1 {
		t.Errorf("imported: %v, %v", names, err)
	}
	if _, err := NewClient(filepath.Join(t.TempDir(), "none")).List(t.Context()); err == nil || !strings.Contains(err.Error(), "the node's agent does not answer") {
		t.Errorf("nobody: %v", err)
	}
}
