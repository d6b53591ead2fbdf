package statelog

import (
	"errors"
	"fmt"

	"kubus.dev/proto"
)

var (
	// ErrExpired: the revision is older than the watch window; list again.
	ErrExpired = errors.New("the requested revision is older than the watch window")
	// ErrUnavailable: the store takes no writes at present; retrying may help.
	ErrUnavailable = errors.New("the state log is unavailable")
	// ErrUnknown: the store gave no answer and does not tell any more what became of the
	// write. Whoever repeats it may find its own doing. It is an ErrUnavailable as well.
	ErrUnknown = fmt.Errorf("%w, and what became of the write is not known", ErrUnavailable)
	// ErrFenced: the fence was taken by somebody else; nothing was written.
	ErrFenced = errors.New("the fence has a newer holder")
	// ErrAborted: another write of the same atomic group failed; nothing was written.
	ErrAborted = errors.New("another write of the group failed")
	// ErrTooLarge: the object exceeds what the log stores.
	ErrTooLarge = errors.New("the object is too large")
)

// errStopped is why a log that has ended takes no writes.
var errStopped = errors.New("the log has ended")

// ConflictError says that the object is not at the revision that the write
// expected. Current is its live version, nil when there is none.
type ConflictError struct {
	Key     proto.Key
	Expect  uint64
	Current *Entry
}

func (e *ConflictError) Error() string {
	if e.Current == nil {
		return fmt.Sprintf("%s: expected revision %d, there is no such object", e.Key, e.Expect)
	}
	return fmt.Sprintf("%s: expected revision %d, found %d", e.Key, e.Expect, e.Current.revision)
}
