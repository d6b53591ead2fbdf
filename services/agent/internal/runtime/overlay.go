package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mountOverlay makes a container's root file system from read-only layers, uppermost first, and a writable one
// below upper. "volatile" leaves out the syncs that only a remount after a crash would need: there is none.
func mountOverlay(lowers []string, upper, target string) error {
	for _, dir := range []string{filepath.Join(upper, "fs"), filepath.Join(upper, "work"), target} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if len(lowers) == 0 {
		empty := filepath.Join(upper, "empty") // an image without layers
		if err := os.MkdirAll(empty, 0o755); err != nil {
			return err
		}
		lowers = []string{empty}
	}
	upperDir, work := filepath.Join(upper, "fs"), filepath.Join(upper, "work")
	options := "lowerdir=" + strings.Join(lowers, ":") + ",upperdir=" + upperDir + ",workdir=" + work
	var err error
	if len(options) < os.Getpagesize()-64 {
		err = unix.Mount("overlay", target, "overlay", 0, options+",volatile")
		if errors.Is(err, unix.EINVAL) {
			err = unix.Mount("overlay", target, "overlay", 0, options)
		}
	} else {
		err = mountLongOverlay(lowers, upperDir, work, target, 0)
	}
	if err != nil {
		return fmt.Errorf("mounting overlayfs over %d layers: %w", len(lowers), err)
	}
	return nil
}

// mountReadOnly shows read-only layers, uppermost first, in a folder. Nothing there can be written, executed with
// other rights or used as a device.
func mountReadOnly(lowers []string, target string) error {
	const flags = unix.MS_RDONLY | unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC
	switch len(lowers) {
	case 0:
		return unix.Mount("tmpfs", target, "tmpfs", flags, "size=0") // an image without layers
	case 1: // overlayfs wants two
		if err := unix.Mount(lowers[0], target, "", unix.MS_BIND, ""); err != nil {
			return err
		}
		if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|flags, ""); err != nil {
			return errors.Join(err, unix.Unmount(target, unix.MNT_DETACH))
		}
		return nil
	}
	options := "lowerdir=" + strings.Join(lowers, ":")
	if len(options) < os.Getpagesize()-64 {
		return unix.Mount("overlay", target, "overlay", flags, options)
	}
	return mountLongOverlay(lowers, "", "", target,
		unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC)
}

// mountLongOverlay adds layers one by one, which Linux 6.5 and newer can. Without upper it is read-only.
func mountLongOverlay(lowers []string, upper, work, target string, attributes int) error {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fs)
	for _, l := range lowers {
		if err := unix.FsconfigSetString(fs, "lowerdir+", l); err != nil {
			return err
		}
	}
	if upper != "" {
		if err := errors.Join(unix.FsconfigSetString(fs, "upperdir", upper), unix.FsconfigSetString(fs, "workdir", work)); err != nil {
			return err
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return err
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attributes)
	if err != nil {
		return err
	}
	defer unix.Close(mount)
	return unix.MoveMount(mount, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
}
