// Package tree takes folders that containers could write to off the node.
//
// Start with Clear. Whoever was in a container may have left anything: mounts that came out of it by propagation,
// links, folders nested deeper than there are descriptors.
//
// Promises: no function follows a link or enters a mount to delete there, bind mounts of the same file system
// included, so that what a pod had mounted is never emptied; each uses a bounded number of descriptors. All may be
// called again, and for what is not there.
package tree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Clear detaches every mount below dir and removes it with all that is in it.
func Clear(dir string) error {
	err := Remove(dir)
	if !errors.Is(err, ErrMounted) {
		return err
	}
	if err := UnmountBelow(dir); err != nil {
		return err
	}
	return Remove(dir)
}

// passes bounds how often the mounts are listed: somebody may go on mounting.
const passes = 16

// UnmountBelow detaches every mount below dir, the newest first, as the kernel lists them; dir itself stays.
func UnmountBelow(dir string) error {
	real, err := filepath.EvalSymlinks(dir) // the kernel knows no links
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for mounts: %w", err)
	}
	for range passes {
		targets, err := Mounts(real)
		if err != nil {
			return err
		}
		if len(targets) == 0 {
			return nil
		}
		var errs error
		for i := len(targets) - 1; i >= 0; i-- {
			errs = errors.Join(errs, Unmount(targets[i]))
		}
		if errs != nil {
			return errs
		}
	}
	return fmt.Errorf("mounts below %s come back as fast as they are taken away", dir)
}

// Mounts lists the mount points strictly below dir, which must be free of links, oldest first.
func Mounts(dir string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("listing mounts: %w", err)
	}
	return below(string(data), dir), nil
}

// IsMount tells whether something is mounted exactly on dir; a missing dir is no error.
func IsMount(dir string) (bool, error) {
	real, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for a mount: %w", err)
	}
	all, err := Mounts(filepath.Dir(real))
	return slices.Contains(all, real), err
}

// below picks the mount points below dir from what the kernel lists; see proc_pid_mountinfo(5).
func below(mountinfo, dir string) []string {
	var targets []string
	for line := range strings.Lines(mountinfo) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		target := strings.TrimSuffix(unescape.Replace(f[4]), "//deleted")
		if strings.HasPrefix(target, strings.TrimSuffix(dir, "/")+"/") {
			targets = append(targets, target)
		}
	}
	return targets
}

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// Unmount detaches every mount at a path; a path that is none is fine.
func Unmount(path string) error {
	for {
		switch err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); {
		case err == nil: // one mount may lie on another
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
			return nil
		default:
			return fmt.Errorf("unmounting %s: %w", path, err)
		}
	}
}
