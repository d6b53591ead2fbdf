package tree

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrMounted: something is mounted in the folder. Nothing was removed behind it.
var ErrMounted = errors.New("something is mounted in it")

// maxOpen bounds the folders that are open at once. What lies deeper is first moved to the top.
const maxOpen = 64

// Remove removes a file or a folder with all that is in it, as far as no mount is in the way: the rest stays then, and
// the error is ErrMounted. A missing path is no error.
func Remove(path string) error {
	parent, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing %s: %w", path, err)
	}
	defer unix.Close(parent)
	r := remover{top: -1}
	if err := r.remove(parent, filepath.Base(path), 0); err != nil {
		return fmt.Errorf("removing %s: %w", path, err)
	}
	return nil
}

// remover removes one tree.
type remover struct {
	top   int // descriptor of the uppermost folder
	moved int // folders that were moved to it
}

// remove removes one entry of a folder.
func (r *remover) remove(parent int, name string, depth int) error {
	err := unix.Unlinkat(parent, name, 0)
	if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EPERM) {
		err = unix.Unlinkat(parent, name, unix.AT_REMOVEDIR)
	}
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%q: %w", name, ErrMounted)
	case !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%q: %w", name, err)
	case depth >= maxOpen:
		return r.lift(parent, name)
	}
	return r.removeFolder(parent, name, depth)
}

// lift moves a folder that lies too deep to the top, where it is met again.
func (r *remover) lift(parent int, name string) error {
	for {
		r.moved++
		err := unix.Renameat2(parent, name, r.top, fmt.Sprintf(".deep-%d", r.moved), unix.RENAME_NOREPLACE)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EBUSY):
			return fmt.Errorf("%q: %w", name, ErrMounted)
		case !errors.Is(err, unix.EEXIST):
			return fmt.Errorf("moving %q: %w", name, err)
		}
	}
}

func (r *remover) removeFolder(parent int, name string, depth int) error {
	fd, err := unix.Openat2(parent, name, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH})
	switch {
	case errors.Is(err, unix.EXDEV):
		return fmt.Errorf("%q: %w", name, ErrMounted)
	case err != nil:
		return fmt.Errorf("opening %q: %w", name, err)
	}
	defer unix.Close(fd)
	if depth == 0 {
		r.top = fd
	}
	if err := r.empty(fd, depth); err != nil {
		return err
	}
	if err := unix.Unlinkat(parent, name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%q: %w", name, err)
	}
	return nil
}

// empty removes what is in a folder, reading it anew until a pass finds nothing. What cannot be removed does not keep
// the rest.
func (r *remover) empty(fd, depth int) error {
	buf := make([]byte, 8<<10)
	for {
		if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
			return err
		}
		var errs error
		found := 0
		for {
			n, err := unix.ReadDirent(fd, buf)
			if err != nil {
				return err
			}
			if n <= 0 {
				break
			}
			_, _, names := unix.ParseDirent(buf[:n], -1, nil)
			for _, name := range names {
				found++
				if err := r.remove(fd, name, depth+1); err != nil && errs == nil {
					errs = err
				}
			}
		}
		if errs != nil || found == 0 {
			return errs
		}
	}
}
