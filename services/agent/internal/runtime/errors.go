package runtime

import (
	"errors"
	"strings"
)

var (
	// ErrNotFound: no sandbox, container or image of that name.
	ErrNotFound = errors.New("not found")
	// ErrNotRunning: the container has no process to exec into or attach to.
	ErrNotRunning = errors.New("container not running")
	// ErrExecTimeout: the command did not end in time and was killed.
	ErrExecTimeout = errors.New("command timed out")
	// ErrImageInUse: a container uses the image.
	ErrImageInUse = errors.New("image is in use")
	// ErrShimLost: the pod's shim is gone; the sandbox cannot be used any more.
	ErrShimLost = errors.New("shim is gone")
	// ErrNoNetwork: the node has no pod CIDR yet; try again when it has.
	ErrNoNetwork = errors.New("network is not ready: the node has no pod CIDR yet")
)

// PullError says why an image could not be pulled, in containerd's words, and where it was looked for.
type PullError struct {
	Ref       string   // normalised
	Endpoints []string // every URL asked, in order
	Err       error
}

// Error is the sentence that stands in the pod's status and Event.
func (e *PullError) Error() string {
	s := "failed to pull and unpack image \"" + e.Ref + "\": " + e.Err.Error()
	if len(e.Endpoints) > 0 {
		s += " (tried " + strings.Join(e.Endpoints, ", ") + ")"
	}
	return s
}

// Unwrap gives the cause.
func (e *PullError) Unwrap() error { return e.Err }

// InvalidImageError says that an image reference could not be parsed; pulling it again cannot help.
type InvalidImageError struct {
	Ref string
	Err error
}

// Error is the sentence for the pod's status, reason InvalidImageName.
func (e *InvalidImageError) Error() string {
	return "Failed to apply default image tag \"" + e.Ref + "\": " + e.Err.Error()
}

// Unwrap gives the cause.
func (e *InvalidImageError) Unwrap() error { return e.Err }
