package static

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func named(name string) string { return strings.Replace(web, "name: web,", "name: "+name+",", 1) }

func TestReadKeepsWhatAFileWasThatCannotBeRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := &Folder{Dir: dir, Node: "n"}
	a, b := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
	put(t, a, named("a"))
	put(t, b, named("a"))
	put(t, filepath.Join(dir, ".hidden"), "{")
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	pods, problems := f.Read()
	if len(pods) != 1 || pods["default/a-n"] == nil || len(problems) != 1 || !strings.Contains(problems[0].Error(), "b.yaml: another file has a pod default/a-n") {
		t.Fatalf("%v, %v", pods, problems)
	}
	first := pods["default/a-n"].UID
	put(t, a, "{")
	put(t, b, "{")
	pods, problems = f.Read()
	if len(pods) != 1 || pods["default/a-n"].UID != first || len(problems) != 2 {
		t.Errorf("with files that are no pods: %v, %v", pods, problems)
	}
	if err := os.Remove(a); err != nil {
		t.Fatal(err)
	}
	if pods, problems = f.Read(); len(pods) != 0 || len(problems) != 1 {
		t.Errorf("with one file that never was a pod: %v, %v", pods, problems)
	}
}

func TestWatchTellsOfEveryChangeAndOutlivesItsFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "manifests")
	f := &Folder{Dir: dir, Node: "n"}
	ctx, cancel := context.WithCancel(t.Context())
	changed, done := make(chan struct{}, 100), make(chan error, 1)
	go func() { done <- f.Watch(ctx, func() { changed <- struct{}{} }) }()
	heard := func(what string) {
		t.Helper()
		select {
		case <-changed:
		case <-time.After(20 * time.Second):
			t.Fatal("nothing was heard of " + what)
		}
	}
	heard("the beginning")
	path := filepath.Join(dir, "a.yaml")
	put(t, path, web)
	heard("a new file")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	heard("its end")
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	heard("the end of the folder")
	put(t, path, web)
	heard("a file in the new folder")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
