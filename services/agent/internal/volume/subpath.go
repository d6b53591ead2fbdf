package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/agent/internal/tree"
)

// SubPath gives a path of the node that shows sub inside a volume. The volume's
// content belongs to containers, which may race us with links: sub is opened
// beneath the volume by the kernel, and what was opened, not its name, is bound
// to a place that containers cannot reach. A missing sub is made as a folder.
func (m *Manager) SubPath(uid types.UID, volumeName, volumePath, container string, index int, sub string) (string, error) {
	if filepath.IsAbs(sub) {
		return "", fmt.Errorf("error SubPath `%s` must not be an absolute path", sub)
	}
	if !filepath.IsLocal(sub) {
		return "", fmt.Errorf("unable to provision SubPath `%s`: must not contain '..'", sub)
	}
	fd, err := openBeneath(volumePath, sub)
	if errors.Is(err, unix.ENOENT) {
		if err := mkdirBeneath(volumePath, sub); err != nil {
			return "", err
		}
		fd, err = openBeneath(volumePath, sub)
	}
	if err != nil {
		return "", fmt.Errorf("unable to provision SubPath `%s`: %w", sub, err)
	}
	defer func() { _ = unix.Close(fd) }()
	target := filepath.Join(m.PodDir(uid), "volume-subpaths", volumeName, container, strconv.Itoa(index))
	if err := bind(fd, target); err != nil {
		return "", fmt.Errorf("unable to provision SubPath `%s`: %w", sub, err)
	}
	return target, nil
}

func openBeneath(root, sub string) (int, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(dir) }()
	for tries := 0; ; tries++ {
		fd, err := unix.Openat2(dir, sub, &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
		})
		if !errors.Is(err, unix.EAGAIN) || tries == 32 { // EAGAIN: something was renamed meanwhile
			return fd, err
		}
	}
}

// mkdirBeneath makes the folders of sub that are missing, with the volume's own mode.
func mkdirBeneath(root, sub string) error {
	r, err := os.OpenRoot(root)
	if err != nil {
		return fmt.Errorf("failed to create subPath directory: %w", err)
	}
	defer func() { _ = r.Close() }()
	mode := fs.FileMode(0o750)
	if info, err := r.Stat("."); err == nil {
		mode = info.Mode() & (fs.ModePerm | fs.ModeSetgid | fs.ModeSticky)
	}
	made := ""
	for part := range strings.SplitSeq(filepath.Clean(sub), "/") {
		made = filepath.Join(made, part)
		err := r.Mkdir(made, mode.Perm())
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			err = r.Chmod(made, mode) // whatever our umask is
		}
		if err != nil {
			return fmt.Errorf("failed to create subPath directory: %w", err)
		}
	}
	return nil
}

// bind shows what fd refers to at target, in place of what was bound there before.
func bind(fd int, target string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	for unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) == nil {
	}
	if err := tree.Remove(target); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if err := os.Mkdir(target, 0o750); err != nil {
			return err
		}
	} else if err := os.WriteFile(target, nil, 0o640); err != nil {
		return err
	}
	return unix.Mount("/proc/self/fd/"+strconv.Itoa(fd), target, "", unix.MS_BIND, "")
}
