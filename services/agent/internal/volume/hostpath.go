package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// checkHostPath holds a hostPath to its type, making what it may make.
func checkHostPath(h *corev1.HostPathVolumeSource) error {
	kind := corev1.HostPathUnset
	if h.Type != nil {
		kind = *h.Type
	}
	if kind == corev1.HostPathUnset {
		return nil
	}
	info, err := os.Stat(h.Path)
	if errors.Is(err, fs.ErrNotExist) {
		switch kind {
		case corev1.HostPathDirectoryOrCreate:
			return mkdirHost(h.Path)
		case corev1.HostPathFileOrCreate:
			return touchHost(h.Path)
		}
		return fmt.Errorf("hostPath type check failed: %s is not %s", h.Path, described(kind))
	}
	if err != nil {
		return fmt.Errorf("hostPath type check failed: %w", err)
	}
	m := info.Mode()
	ok := false
	switch kind {
	case corev1.HostPathDirectory, corev1.HostPathDirectoryOrCreate:
		ok = m.IsDir()
	case corev1.HostPathFile, corev1.HostPathFileOrCreate:
		ok = m.IsRegular()
	case corev1.HostPathSocket:
		ok = m&fs.ModeSocket != 0
	case corev1.HostPathCharDev:
		ok = m&fs.ModeCharDevice != 0
	case corev1.HostPathBlockDev:
		ok = m&fs.ModeDevice != 0 && m&fs.ModeCharDevice == 0
	default:
		return fmt.Errorf("%s is an invalid volume type", kind)
	}
	if !ok {
		return fmt.Errorf("hostPath type check failed: %s is not %s", h.Path, described(kind))
	}
	return nil
}

func mkdirHost(path string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("making the hostPath folder: %w", err)
	}
	return nil
}

func touchHost(path string) error {
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return fmt.Errorf("hostPath type check failed: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("making the hostPath file: %w", err)
	}
	return f.Close()
}

func described(kind corev1.HostPathType) string {
	switch kind {
	case corev1.HostPathDirectory, corev1.HostPathDirectoryOrCreate:
		return "a directory"
	case corev1.HostPathFile, corev1.HostPathFileOrCreate:
		return "a file"
	case corev1.HostPathSocket:
		return "a socket file"
	case corev1.HostPathCharDev:
		return "a character device"
	case corev1.HostPathBlockDev:
		return "a block device"
	}
	return string(kind)
}
