// Package continuation knows the tokens by which a client asks for the next page of
// a list. Start with Token.
//
// Promises. A token is upstream's, with the time of the first page beside: nothing is
// kept for it, so any gateway can go on with it. It expires at its time however
// often it is used.
package continuation

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/storage"
)

// Latest is the revision of a token that goes on with the list as it is now.
const Latest = -1

// Token is a place in a list at a revision.
type Token struct {
	// Namespace and Name are of the last object given; a kind without namespaces has
	// no Namespace.
	Namespace, Name string
	// Revision is the list's resourceVersion, or Latest.
	Revision int64
	// Began is when the first page was made, in milliseconds.
	Began time.Time
}

// wire is upstream's form, and Began, which upstream ignores.
type wire struct {
	APIVersion      string `json:"v"`
	ResourceVersion int64  `json:"rv"`
	// StartKey is namespace/name, ended by a zero byte.
	StartKey string `json:"start"`
	Began    int64  `json:"began,omitempty"`
}

// Encode gives the text for clients.
func (t Token) Encode() string {
	w := wire{APIVersion: "meta.k8s.io/v1", ResourceVersion: t.Revision, StartKey: t.Name + "\x00"}
	if t.Namespace != "" {
		w.StartKey = t.Namespace + "/" + w.StartKey
	}
	if t.Revision > 0 {
		w.Began = t.Began.UnixMilli()
	}
	data, err := json.Marshal(w)
	if err != nil {
		panic("a continue token cannot be encoded: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

// Decode reads a token of a kind with or without namespaces; one that does not say
// when it began, as upstream's do not, begins now. The error is a Status, 400.
func Decode(text string, namespaced bool) (Token, error) {
	key, revision, err := storage.DecodeContinue(text, "/")
	if err != nil {
		return Token{}, apierrors.NewBadRequest(fmt.Sprintf("invalid continue token: %v", err))
	}
	t := Token{Name: strings.TrimSuffix(strings.TrimPrefix(key, "/"), "\x00"), Revision: revision, Began: time.Now()}
	if namespaced {
		t.Namespace, t.Name, _ = strings.Cut(t.Name, "/")
	}
	var w wire
	if data, err := base64.RawURLEncoding.DecodeString(text); err == nil && json.Unmarshal(data, &w) == nil && w.Began > 0 {
		t.Began = time.UnixMilli(w.Began)
	}
	return t, nil
}

// expired is upstream's text (k8s.io/apiserver/pkg/storage/etcd3/errors.go): clients
// and the conformance tests know it.
const expired = "The provided continue parameter is too old " +
	"to display a consistent list result. You can start a new list without " +
	"the continue parameter, or use the continue token in this response to " +
	"retrieve the remainder of the results. Continuing with the provided " +
	"token results in an inconsistent list - objects that were created, " +
	"modified, or deleted between the time the first chunk was returned " +
	"and now may show up in the list."

// Expired is the Status, 410, for a token whose list is not known any more. It holds
// one that goes on with the list as it is.
func (t Token) Expired() error {
	t.Revision = Latest
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusGone, Reason: metav1.StatusReasonExpired, Message: expired,
		ListMeta: metav1.ListMeta{Continue: t.Encode()},
	}}
}
