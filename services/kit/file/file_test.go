package file

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

func TestReplace(t *testing.T) {
	t.Parallel()
	for name, replace := range map[string]func(string, []byte, os.FileMode) error{"at once": Replace, "durably": ReplaceDurably} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "f")
			// What a process that died left behind is in nobody's way.
			if err := os.WriteFile(path+".new", []byte("a long rest of somebody"), 0o666); err != nil {
				t.Fatal(err)
			}
			for _, content := range []string{"one", "another", ""} {
				if err := replace(path, []byte(content), 0o640); err != nil {
					t.Fatal(err)
				}
				got, err := os.ReadFile(path)
				info, statErr := os.Stat(path)
				if err != nil || statErr != nil || string(got) != content || info.Mode() != 0o640 {
					t.Errorf("got %q, %v, %v", got, info.Mode(), err)
				}
			}
			if err := replace(filepath.Join(path, "below"), nil, 0o600); err == nil {
				t.Error("a file below a file was written")
			}
			if err := os.Mkdir(path+".d", 0o700); err != nil {
				t.Fatal(err)
			}
			if err := replace(path+".d", []byte("x"), 0o600); err == nil {
				t.Error("a folder was replaced")
			}
			entries, err := os.ReadDir(filepath.Dir(path))
			if err != nil || len(entries) != 2 {
				t.Errorf("%v are left, %v", entries, err)
			}
		})
	}
}

func TestCreateLeavesWhatIsThere(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	const callers = 8
	var created atomic.Int32
	var wait sync.WaitGroup
	for i := range callers {
		wait.Go(func() {
			switch err := Create(path, []byte{byte('a' + i)}, 0o600); {
			case err == nil:
				created.Add(1)
			case !errors.Is(err, fs.ErrExist):
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if created.Load() != 1 {
		t.Errorf("%d of %d callers made the file", created.Load(), callers)
	}
	before, err := os.ReadFile(path)
	if err != nil || len(before) != 1 {
		t.Fatalf("got %q, %v", before, err)
	}
	if err := Create(path, []byte("later"), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want that it exists", err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("got %q, %v, want %q", after, err, before)
	}
	onlyOne(t, path)
}

func TestFillIsWholeOrNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	parts := func(w io.Writer) error {
		_, first := io.WriteString(w, "in ")
		_, second := io.WriteString(w, "parts")
		return errors.Join(first, second)
	}
	if err := Fill(path, 0o640, parts); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	if err := Fill(path, 0o600, func(w io.Writer) error { return errors.Join(parts(w), broken) }); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	got, err := os.ReadFile(path)
	info, statErr := os.Stat(path)
	if err != nil || statErr != nil || string(got) != "in parts" || info.Mode() != 0o640 {
		t.Errorf("got %q, %v, %v", got, info.Mode(), err)
	}
	onlyOne(t, path)
}

// onlyOne says what else is beside a file.
func onlyOne(t *testing.T, path string) {
	t.Helper()
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("%v are there, %v", entries, err)
	}
}
