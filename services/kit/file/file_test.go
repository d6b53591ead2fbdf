package file

import (
	"os"
	"path/filepath"
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
