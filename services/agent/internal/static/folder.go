package static

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	corev1 "k8s.io/api/core/v1"
)

const (
	maxManifest = 10 << 20               // bytes, as kubelet's
	settled     = 100 * time.Millisecond // without an event: what writes a file writes it in pieces
)

// Folder is where the manifests are.
type Folder struct {
	Dir, Node string

	last map[string]*corev1.Pod // by file, as it was read last
}

// Read gives the pods of the folder, by namespace and name, and what is wrong with files that
// are no pods; such a file stays what it was when it could be read. Hidden files are passed over.
func (f *Folder) Read() (map[string]*corev1.Pod, []error) {
	out, now := map[string]*corev1.Pod{}, map[string]*corev1.Pod{}
	entries, err := os.ReadDir(f.Dir) // by name
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		for _, pod := range f.last {
			out[key(pod)] = pod
		}
		return out, []error{fmt.Errorf("reading static pods: %w", err)}
	}
	var problems []error
	for _, e := range entries {
		path := filepath.Join(f.Dir, e.Name())
		info, err := os.Stat(path) // of what a link leads to
		if strings.HasPrefix(e.Name(), ".") || err != nil || !info.Mode().IsRegular() {
			continue
		}
		pod, err := f.file(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", path, err))
			if pod = f.last[path]; pod == nil {
				continue
			}
		}
		if other := out[key(pod)]; other != nil {
			problems = append(problems, fmt.Errorf("%s: another file has a pod %s", path, key(pod)))
			continue
		}
		out[key(pod)], now[path] = pod, pod
	}
	f.last = now
	return out, problems
}

func (f *Folder) file(path string) (*corev1.Pod, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(file, maxManifest+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxManifest:
		return nil, fmt.Errorf("it is larger than %d bytes", maxManifest)
	}
	return Parse(data, path, f.Node)
}

func key(pod *corev1.Pod) string { return pod.Namespace + "/" + pod.Name }

// Watch calls changed once it watches, and whenever something of the folder has changed and a
// moment has passed, until ctx ends. The folder is made where there is none, and anew when it is
// removed.
func (f *Folder) Watch(ctx context.Context, changed func()) error {
	for ctx.Err() == nil {
		if err := f.watch(ctx, changed); err != nil {
			return fmt.Errorf("watching for static pods: %w", err)
		}
	}
	return nil
}

// watch returns when the folder itself went.
func (f *Folder) watch(ctx context.Context, changed func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }() // ends with us in any case
	if err := os.MkdirAll(f.Dir, 0o755); err != nil {
		return err
	}
	if err := w.Add(f.Dir); err != nil {
		return err
	}
	changed()
	quiet := time.NewTimer(settled)
	quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-w.Events:
			if e.Name == f.Dir && e.Has(fsnotify.Remove|fsnotify.Rename) {
				return nil
			}
			quiet.Reset(settled)
		case <-w.Errors: // events were lost
			quiet.Reset(settled)
		case <-quiet.C:
			changed()
		}
	}
}
