package eviction

import (
	"context"
	"io/fs"
	"path/filepath"
	"syscall"

	corev1 "k8s.io/api/core/v1"
)

// statBlock is the unit of a file's blocks, whatever the file system's own.
const statBlock = 512

// DiskUse is what folders take of the disk they are on: bytes and inodes. What is mounted below
// them does not count, a file with several names counts once, and what cannot be read counts as
// nothing.
func DiskUse(ctx context.Context, dirs ...string) Use {
	var blocks, inodes int64
	known := map[uint64]bool{} // inodes with several names
	for _, dir := range dirs {
		var device uint64
		_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error { // never fails but by SkipDir and ctx
			if err != nil {
				return nil // it went meanwhile
			}
			if ctx.Err() != nil {
				return filepath.SkipAll
			}
			info, err := entry.Info()
			if err != nil {
				return nil
			}
			st, ok := info.Sys().(*syscall.Stat_t)
			if !ok {
				return nil
			}
			if path == dir {
				device = st.Dev
			}
			if st.Dev != device {
				if entry.IsDir() {
					return filepath.SkipDir
				}
				return nil
			}
			if st.Nlink > 1 && !entry.IsDir() {
				if known[st.Ino] {
					return nil
				}
				known[st.Ino] = true
			}
			blocks, inodes = blocks+st.Blocks, inodes+1
			return nil
		})
	}
	return Use{corev1.ResourceEphemeralStorage: blocks * statBlock, Inodes: inodes}
}
