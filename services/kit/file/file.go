// Package file puts files in place in one step: a reader sees the old content or the new,
// never a part. It depends on nothing, so that the smallest of programs can use it.
//
// Start with Replace; ReplaceDurably also survives a power loss, Create leaves what is
// there, and Fill takes content that comes in parts.
package file

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// Replace writes data beside path and renames it there. A link at path is replaced, not
// followed. One call for a path at a time. After an error path is as before.
func Replace(path string, data []byte, mode os.FileMode) error {
	return place(path, sameName(path), mode, false, whole(data), os.Rename)
}

// ReplaceDurably is Replace that returns when the file and its name are on the disk.
func ReplaceDurably(path string, data []byte, mode os.FileMode) error {
	return place(path, sameName(path), mode, true, whole(data), os.Rename)
}

// Create is ReplaceDurably for a file that must not be there; otherwise the error is
// fs.ErrExist. Of calls at one time, by several processes too, one succeeds.
func Create(path string, data []byte, mode os.FileMode) error {
	return place(path, ownName(path), mode, true, whole(data), os.Link)
}

// Fill is ReplaceDurably of what fill writes. Calls for one path may overlap, and folders
// may be others' too: what lies in the way beside path is neither followed nor used.
func Fill(path string, mode os.FileMode, fill func(io.Writer) error) error {
	return place(path, ownName(path), mode, true, fill, os.Rename)
}

func whole(data []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
}

// sameName is a file beside path whose name is always the same: what a process that died
// left there is taken over.
func sameName(path string) func() (*os.File, error) {
	return func() (*os.File, error) {
		return os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	}
}

// ownName is a file beside path that was not there.
func ownName(path string) func() (*os.File, error) {
	return func() (*os.File, error) { return os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") }
}

// place fills what open gives and puts it at path by a rename or a link.
func place(path string, open func() (*os.File, error), mode os.FileMode, durably bool, fill func(io.Writer) error, put func(from, to string) error) error {
	f, err := open()
	if err != nil {
		return err
	}
	err = errors.Join(fill(f), f.Chmod(mode)) // whatever the umask, and who left the file behind
	if durably && err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = put(f.Name(), path)
	}
	_ = os.Remove(f.Name()) // nothing is left of it after a rename; of errors the first tells more
	if err != nil || !durably {
		return err
	}
	return SyncFolder(filepath.Dir(path))
}

// SyncFolder returns when the names in a folder are on the disk.
func SyncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
