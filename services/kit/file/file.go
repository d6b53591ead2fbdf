// Package file replaces files in one step: a reader sees the old content or the new, never
// a part. It depends on nothing, so that the smallest of programs can use it.
//
// Start with Replace; ReplaceDurably also survives a power loss.
package file

import (
	"errors"
	"os"
	"path/filepath"
)

// Replace writes data beside path and renames it there. A link at path is replaced, not
// followed. One call for a path at a time. After an error path is as before.
func Replace(path string, data []byte, mode os.FileMode) error {
	return replace(path, data, mode, false)
}

// ReplaceDurably is Replace that returns when the file and its name are on the disk.
func ReplaceDurably(path string, data []byte, mode os.FileMode) error {
	return replace(path, data, mode, true)
}

func replace(path string, data []byte, mode os.FileMode, durably bool) error {
	temp := path + ".new"
	if err := write(temp, data, mode, durably); err != nil {
		_ = os.Remove(temp) // the first error tells more
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		_ = os.Remove(temp)
		return err
	}
	if durably {
		return SyncFolder(filepath.Dir(path))
	}
	return nil
}

func write(path string, data []byte, mode os.FileMode, durably bool) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode)) // whatever the umask, and who left the file behind
	if durably {
		err = errors.Join(err, f.Sync())
	}
	return errors.Join(err, f.Close())
}

// SyncFolder returns when the names in a folder are on the disk.
func SyncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
