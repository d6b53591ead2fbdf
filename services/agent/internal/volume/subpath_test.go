package volume

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestFoldersOfASubPathHaveTheVolumesMode(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]fs.FileMode{
		"open to all":           0o777,
		"of a group":            0o770 | fs.ModeSetgid,
		"where nobody may move": 0o777 | fs.ModeSetgid | fs.ModeSticky,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			if err := os.Chmod(root, mode); err != nil {
				t.Fatal(err)
			}
			if err := mkdirBeneath(root, "a/b"); err != nil {
				t.Fatal(err)
			}
			for _, sub := range []string{"a", "a/b"} {
				info, err := os.Stat(filepath.Join(root, sub))
				if err != nil || info.Mode() != mode|fs.ModeDir {
					t.Errorf("%s: %v, %v, want %v", sub, info.Mode(), err, mode|fs.ModeDir)
				}
			}
		})
	}
}
