package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"kubus.dev/services/agent/internal/tree"
)

// File is one file of a volume's content.
type File struct {
	Data []byte
	Mode fs.FileMode
	UID  int // -1: as it is
}

const (
	dataLink    = "..data"
	dataLinkNew = "..data_tmp"
)

// Write makes dir show exactly the given files, by their relative slash paths,
// all at once: they are written to a folder of their own, and the link ..data is
// turned to it. gid is the files' group, -1 for none. Unchanged content is left
// alone. A reader sees all of the old or all of the new.
func Write(dir string, files map[string]File, gid int) error {
	for name := range files {
		if err := validPath(name); err != nil {
			return err
		}
	}
	old, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the volume's present content: %w", err)
	}
	if old != "" && same(filepath.Join(dir, old), files) && linksRight(dir, files) {
		return nil
	}
	fresh, err := os.MkdirTemp(dir, time.Now().UTC().Format("..2006_01_02_15_04_05."))
	if err != nil {
		return fmt.Errorf("writing the volume: %w", err)
	}
	if err := fill(fresh, files, gid); err != nil {
		_ = tree.Remove(fresh) // it is the error above that counts
		return err
	}
	if err := swap(dir, filepath.Base(fresh)); err != nil {
		_ = tree.Remove(fresh) // it is the error above that counts
		return err
	}
	if err := link(dir, files); err != nil {
		return err
	}
	if old != "" && filepath.Base(old) == old && strings.HasPrefix(old, "..") && old != ".." { // one of ours
		if err := tree.Remove(filepath.Join(dir, old)); err != nil {
			return fmt.Errorf("removing the volume's old content: %w", err)
		}
	}
	return nil
}

func validPath(name string) error {
	switch {
	case name == "" || path.IsAbs(name) || path.Clean(name) != name:
		return fmt.Errorf("invalid path: %q", name)
	case !filepath.IsLocal(name):
		return fmt.Errorf("invalid path: must not contain '..': %s", name)
	case strings.HasPrefix(name, ".."):
		return fmt.Errorf("invalid path: must not start with '..': %s", name)
	}
	return nil
}

func fill(dir string, files map[string]File, gid int) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return fmt.Errorf("writing the volume: %w", err)
	}
	for name, f := range files {
		full := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return fmt.Errorf("writing the volume: %w", err)
		}
		if err := os.WriteFile(full, f.Data, 0o600); err != nil {
			return fmt.Errorf("writing the volume: %w", err)
		}
		mode := f.Mode
		if gid >= 0 {
			mode |= 0o440
		}
		if gid >= 0 || f.UID >= 0 {
			if err := os.Chown(full, f.UID, gid); err != nil {
				return fmt.Errorf("writing the volume: %w", err)
			}
		}
		if err := os.Chmod(full, mode); err != nil {
			return fmt.Errorf("writing the volume: %w", err)
		}
	}
	return nil
}

func swap(dir, fresh string) error {
	tmp := filepath.Join(dir, dataLinkNew)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("writing the volume: %w", err)
	}
	if err := os.Symlink(fresh, tmp); err != nil {
		return fmt.Errorf("writing the volume: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, dataLink)); err != nil {
		return fmt.Errorf("writing the volume: %w", err)
	}
	return nil
}

// visible lists the entries that users see in the volume's top folder.
func visible(files map[string]File) map[string]bool {
	out := make(map[string]bool, len(files))
	for name := range files {
		top, _, _ := strings.Cut(name, "/")
		out[top] = true
	}
	return out
}

func link(dir string, files map[string]File) error {
	want := visible(files)
	for name := range want {
		target := path.Join(dataLink, name)
		if now, err := os.Readlink(filepath.Join(dir, name)); err == nil && now == target {
			continue
		}
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("writing the volume: %w", err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("writing the volume: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "..") || want[e.Name()] {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("removing what the volume no longer holds: %w", err)
		}
	}
	return nil
}

func linksRight(dir string, files map[string]File) bool {
	for name := range visible(files) {
		if now, err := os.Readlink(filepath.Join(dir, name)); err != nil || now != path.Join(dataLink, name) {
			return false
		}
	}
	return true
}

// same tells whether the folder holds exactly the files.
func same(dir string, files map[string]File) bool {
	n := 0
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		f, ok := files[filepath.ToSlash(rel)]
		if !ok {
			return fs.ErrInvalid
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if !bytes.Equal(data, f.Data) {
			return fs.ErrInvalid
		}
		n++
		return nil
	})
	return err == nil && n == len(files)
}
