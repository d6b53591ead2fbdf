package image

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// inherit gives folders that a layer holds but does not describe the owner and mode they have below, as when the
// layer had been unpacked over the others. Layers are given lowest first.
func (s *Store) inherit(layers []string) error {
	for i, layer := range layers {
		info, err := s.readLayer(layer)
		if err != nil {
			return err
		}
		for _, dir := range info.Implied {
			if err := s.inheritFolder(layers[:i], layer, dir); err != nil {
				return fmt.Errorf("folder %s of layer %s: %w", dir, layer, err)
			}
		}
	}
	return nil
}

func (s *Store) inheritFolder(lowers []string, layer, dir string) error {
	for _, lower := range slices.Backward(lowers) {
		var st unix.Stat_t
		err := statIn(s.layerFS(lower), dir, &st)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return nil // a file or whiteout below: the folder replaces it
		}
		root, err := unix.Open(s.layerFS(layer), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(root)
		fd, err := openIn(root, dir, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Fchown(fd, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
		return unix.Fchmod(fd, st.Mode&0o7777)
	}
	return nil
}

func statIn(rootDir, name string, st *unix.Stat_t) error {
	root, err := unix.Open(rootDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	fd, err := openIn(root, name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fstat(fd, st)
}
