package read

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/apiserver/pkg/storage"

	"kubus.dev/proto/statelog"
)

// token is upstream's continue token, with the time of the first page beside. Any
// gateway can go on with it.
type token struct {
	APIVersion      string `json:"v"`
	ResourceVersion int64  `json:"rv"`
	// StartKey is namespace/name of the last object given, ended by a zero byte.
	StartKey string `json:"start"`
	// Began is in milliseconds since 1970.
	Began int64 `json:"began,omitempty"`
}

// token encodes a place in a list at a revision; -1 is any revision.
func (c *collection) token(after position, revision int64, began time.Time) string {
	t := token{APIVersion: "meta.k8s.io/v1", ResourceVersion: revision, StartKey: c.key(after) + "\x00"}
	if revision > 0 {
		t.Began = began.UnixMilli()
	}
	data, err := json.Marshal(t)
	if err != nil {
		panic("a continue token cannot be encoded: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

// began is when the first page of a token's list was made, now where it does not
// say: upstream's own tokens do not.
func began(text string) time.Time {
	var t token
	if data, err := base64.RawURLEncoding.DecodeString(text); err != nil || json.Unmarshal(data, &t) != nil || t.Began == 0 {
		return time.Now()
	}
	return time.UnixMilli(t.Began)
}

// continued finds the snapshot that a token belongs to, and its place. A token
// expires however often it is used, as upstream's do.
func (c *collection) continued(ctx context.Context, p *page, options *internalversion.ListOptions) (statelog.Snapshot, position, error) {
	none := statelog.Snapshot{}
	key, revision, err := storage.DecodeContinue(options.Continue, "/")
	if err != nil {
		return none, position{}, apierrors.NewBadRequest(fmt.Sprintf("invalid continue token: %v", err))
	}
	if options.ResourceVersion != "" && options.ResourceVersion != "0" {
		return none, position{}, apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
	}
	after := c.position(strings.TrimSuffix(strings.TrimPrefix(key, "/"), "\x00"))
	if revision < 0 {
		if err := c.current(ctx); err != nil {
			return none, position{}, err
		}
		return c.view.Snapshot(c.gr), after, nil
	}
	p.began = began(options.Continue)
	// Another gateway may have begun the list and be ahead.
	if err := c.atLeast(ctx, uint64(revision)); err != nil {
		return none, position{}, err
	}
	if time.Since(p.began) < c.o.PageTTL {
		if s, ok := c.exact(uint64(revision)); ok {
			return s, after, nil
		}
	}
	expired := apierrors.NewResourceExpired(inconsistentContinue)
	expired.ErrStatus.ListMeta.Continue = c.token(after, -1, time.Time{})
	return none, position{}, expired
}

func (c *collection) position(key string) position {
	if !c.kind.Namespaced {
		return position{name: key}
	}
	ns, name, _ := strings.Cut(key, "/")
	return position{ns, name}
}

func (c *collection) key(p position) string {
	if !c.kind.Namespaced {
		return p.name
	}
	return p.ns + "/" + p.name
}
