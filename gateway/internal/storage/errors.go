package storage

import (
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/proto/statelog"
)

// staleMessage is upstream's registry.OptimisticLockErrorMsg.
const staleMessage = "the object has been modified; please apply your changes to the latest version and try again"

// apiError turns an error of the log into the Status a client gets. Errors that
// are Statuses already pass.
func apiError(err error, gr schema.GroupResource, name string) error {
	var status apierrors.APIStatus
	var conflict *statelog.ConflictError
	var quota *statelog.QuotaError
	switch {
	case err == nil || errors.As(err, &status):
		return err
	case errors.As(err, &conflict):
		return apierrors.NewConflict(gr, name, errors.New(staleMessage))
	case errors.Is(err, statelog.ErrFenced), errors.Is(err, statelog.ErrAborted):
		return apierrors.NewConflict(gr, name, err)
	case errors.Is(err, statelog.ErrTooLarge):
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("%s %q: %v", gr, name, err))
	case errors.As(err, &quota):
		return insufficientStorage(quota, gr, name)
	case errors.Is(err, statelog.ErrUnknown):
		// Without a time to come back: clients repeat the request by themselves where they are
		// given one, and would find their own doing in the way.
		return apierrors.NewTimeoutError(fmt.Sprintf("%s %q may or may not have been written: %v", gr, name, err), 0)
	case errors.Is(err, statelog.ErrUnavailable):
		return unavailable(err)
	}
	return err
}

// ReasonInsufficientStorage goes with 507; upstream has no word for a store that is full.
const ReasonInsufficientStorage metav1.StatusReason = "InsufficientStorage"

// insufficientStorage says that nothing new can be stored until something is deleted.
func insufficientStorage(err *statelog.QuotaError, gr schema.GroupResource, name string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status:  metav1.StatusFailure,
		Code:    http.StatusInsufficientStorage,
		Reason:  ReasonInsufficientStorage,
		Message: fmt.Sprintf("%s %q cannot be stored: %v", gr, name, err),
		Details: &metav1.StatusDetails{Group: gr.Group, Kind: gr.Resource, Name: name},
	}}
}

// unavailable asks the client to come back: nothing was written.
func unavailable(err error) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status:  metav1.StatusFailure,
		Code:    http.StatusServiceUnavailable,
		Reason:  metav1.StatusReasonServiceUnavailable,
		Message: err.Error(),
		Details: &metav1.StatusDetails{RetryAfterSeconds: 1},
	}}
}
