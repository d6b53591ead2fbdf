package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	corev1 "k8s.io/api/core/v1"
)

// BlockError says which block volume could not be given to a pod.
type BlockError struct {
	Volume string
	Err    error
}

// Error is the sentence of the FailedMapVolume Event.
func (e *BlockError) Error() string {
	return fmt.Sprintf("MapVolume.SetUpDevice failed for volume %q : %v", e.Volume, e.Err)
}

func (e *BlockError) Unwrap() error { return e.Err }

// Device is a block volume that containers may have.
type Device struct {
	Path     string // of the block device on the node
	ReadOnly bool
}

// block finds the device of a persistent volume. The node makes no device of a file: what stands behind a volume is for
// whoever made it to say.
func block(pv *corev1.PersistentVolume) (path string, err error) {
	switch {
	case pv.Spec.Local != nil:
		path = pv.Spec.Local.Path
	case pv.Spec.HostPath != nil:
		path = pv.Spec.HostPath.Path
	default:
		return "", errors.New("this node supports persistent volumes of type local and hostPath only")
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("path %q does not exist", path)
	case err != nil:
		return "", fmt.Errorf("looking at the volume: %w", err)
	case info.Mode()&fs.ModeDevice == 0 || info.Mode()&fs.ModeCharDevice != 0:
		return "", fmt.Errorf("path %q is no block device", path)
	}
	return path, nil
}
