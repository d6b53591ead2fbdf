package read

import (
	"errors"
	"fmt"
	"net/http"
	"path"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// listExpired is upstream's text (k8s.io/apiserver/pkg/storage/etcd3/errors.go).
const listExpired = "The resourceVersion for the provided list is too old."

func notAcceptable(message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable, Message: message,
	}}
}

func watchExpired(asked, oldest uint64) error {
	return apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", asked, oldest))
}

func tooLarge(asked, current uint64) error {
	return storage.NewTooLargeResourceVersionError(asked, current, 1)
}

// unavailable turns an error of the state log into what a client can act on.
func unavailable(err error) error {
	var status apierrors.APIStatus
	switch {
	case err == nil, errors.As(err, &status):
		return err
	case errors.Is(err, statelog.ErrUnavailable):
		return apierrors.NewServiceUnavailable("the state log is unavailable: the read cannot be shown to be current")
	}
	return apierrors.NewTimeoutError("the state log did not answer in time: the read cannot be shown to be current", 1)
}

// unreadable is an object that cannot be shown, and why.
type unreadable struct {
	key proto.Key
	err error
}

// mostUnreadable is how many of them an answer names, as upstream's.
const mostUnreadable = 100

// storeReadError says as upstream does which objects of a list cannot be read.
func storeReadError(gr schema.GroupResource, all []unreadable) error {
	causes := make([]metav1.StatusCause, 0, len(all)+1)
	for _, u := range all {
		causes = append(causes, metav1.StatusCause{Type: metav1.CauseTypeUnexpectedServerResponse, Field: path.Join(u.key.Namespace, u.key.Name), Message: u.err.Error()})
	}
	if len(all) >= mostUnreadable {
		causes = append(causes, metav1.StatusCause{Type: metav1.CauseTypeTooMany, Message: "too many errors, the list is truncated"})
	}
	message := fmt.Sprintf("failed to read one or more %s from the storage: %s: %v", gr, path.Join(all[0].key.Namespace, all[0].key.Name), all[0].err)
	if len(all) > 1 {
		message = fmt.Sprintf("%s (and %d more)", message, len(all)-1)
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonStoreReadError, Message: message,
		Details: &metav1.StatusDetails{Group: gr.Group, Kind: gr.Resource, Name: "list", Causes: causes},
	}}
}

// parseRevision reads a resourceVersion as upstream's versioner does.
func parseRevision(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	revision, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("invalid resource version: resourceVersion: Invalid value: %q: %s", text, err))
	}
	return revision, nil
}
