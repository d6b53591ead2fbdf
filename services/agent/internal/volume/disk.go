package volume

import (
	"iter"
	"os"
	"path/filepath"
	"syscall"
)

// OnDisk gives the volumes in a pod's folder that lie on its disk, the name of each and the folder
// it is in; what is mounted there, memory or another disk, is left out.
func OnDisk(podDir string) iter.Seq2[string, string] {
	return func(yield func(name, dir string) bool) {
		disk, ok := device(podDir)
		if !ok {
			return
		}
		dirs, _ := filepath.Glob(filepath.Join(podDir, "volumes", "*", "*")) // the pattern is well formed
		for _, dir := range dirs {
			if on, ok := device(dir); ok && on == disk && !yield(filepath.Base(dir), dir) {
				return
			}
		}
	}
}

func device(path string) (uint64, bool) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return st.Dev, true
}
