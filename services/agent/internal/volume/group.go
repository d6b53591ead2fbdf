package volume

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"

	corev1 "k8s.io/api/core/v1"
)

// What a group gets in a volume that is given to it, as kubelet does.
const (
	groupFile   = 0o660
	groupFolder = fs.ModeSetgid | 0o770
)

func changePolicy(pod *corev1.Pod) corev1.PodFSGroupChangePolicy {
	if sc := pod.Spec.SecurityContext; sc != nil && sc.FSGroupChangePolicy != nil {
		return *sc.FSGroupChangePolicy
	}
	return corev1.FSGroupChangeAlways
}

// give makes everything in a volume the group's to read and write. Containers may have
// the volume in use and race us with links: no link is followed out of it.
func give(top string, gid int, policy corev1.PodFSGroupChangePolicy) error {
	root, err := os.OpenRoot(top)
	if err != nil {
		return fmt.Errorf("applyFSGroup failed for vol %s: %w", top, err)
	}
	defer func() { _ = root.Close() }()
	if policy == corev1.FSGroupChangeOnRootMismatch {
		info, err := root.Stat(".")
		if err == nil && given(info, gid) {
			return nil
		}
	}
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // removed meanwhile
		}
		if err != nil {
			return err
		}
		if err := giveOne(root, path, d, gid); err != nil && !os.IsNotExist(err) {
			return err
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("applyFSGroup failed for vol %s: %w", top, err)
	}
	return nil
}

func giveOne(root *os.Root, path string, d fs.DirEntry, gid int) error {
	if err := root.Lchown(path, -1, gid); err != nil {
		return err
	}
	info, err := d.Info()
	if err != nil || info.Mode()&fs.ModeSymlink != 0 {
		return err
	}
	mode := info.Mode() | groupFile
	if d.IsDir() {
		mode = info.Mode() | groupFolder
	}
	return root.Chmod(path, mode)
}

// given tells whether the volume's top folder is the group's already.
func given(info fs.FileInfo, gid int) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Gid) == gid && info.Mode()&groupFolder == groupFolder
}
