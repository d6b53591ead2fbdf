package custom

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kubus.dev/proto/apiclient"
)

// Run follows the definitions until ctx ends: it writes what plan decided, as admin,
// and removes the instances of definitions that are being deleted. Any number of
// gateways may do it; compare-and-set decides who does.
func (c *Controller) Run(ctx context.Context, admin *apiclient.Client) error {
	group, ctx := errgroup.WithContext(ctx)
	r := &runner{Controller: c, admin: admin, group: group, ending: map[string]bool{}}
	group.Go(func() error { return r.follow(ctx) })
	return group.Wait()
}

// runner is a Controller at work.
type runner struct {
	*Controller
	admin *apiclient.Client
	group *errgroup.Group

	endingMu sync.Mutex
	ending   map[string]bool // definitions that are being ended here
}

// retryAfter is how long a write that failed waits for its next attempt, where no
// change calls for one before.
const retryAfter = time.Second

// follow acts on every change of the definitions, and ends with ctx.
func (r *runner) follow(ctx context.Context) error {
	view := r.o.Log.View(definitions)
	for {
		changed := view.Changed(definitions)
		r.Refresh()
		var retry <-chan time.Time
		if !r.act(ctx) {
			retry = time.After(retryAfter)
		}
		select {
		case <-changed:
		case <-retry:
		case <-ctx.Done():
			return nil
		}
	}
}

// act writes what is planned and ends what is being deleted. It says whether
// everything was written.
func (r *runner) act(ctx context.Context) bool {
	all := true
	for _, k := range r.snapshot() {
		if k.planned != k.crd && r.write(ctx, k.planned) != nil {
			all = false
		}
		if !k.crd.DeletionTimestamp.IsZero() && slices.Contains(k.crd.Finalizers, apiextensionsv1.CustomResourceCleanupFinalizer) {
			r.end(ctx, k.crd.Name)
		}
	}
	return all
}

// snapshot copies what is known, so that writing does not hold up refreshes.
func (c *Controller) snapshot() []known {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.sorted()
	out := make([]known, len(all))
	for i, k := range all {
		out[i] = *k
	}
	return out
}

// statusPatch is a merge patch of a definition's status, and of its finalizers where
// they change. The version makes it a compare-and-set.
type statusPatch struct {
	Metadata struct {
		ResourceVersion string    `json:"resourceVersion"`
		Finalizers      *[]string `json:"finalizers,omitempty"`
	} `json:"metadata"`
	Status apiextensionsv1.CustomResourceDefinitionStatus `json:"status"`
}

// manager is upstream's name for what the API server itself writes.
var manager = url.Values{"fieldManager": {"kube-apiserver"}}

// write writes a definition's status. That somebody else was faster is no error: the
// change that says so is on its way.
func (r *runner) write(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition) error {
	return r.patch(ctx, crd, nil)
}

func (r *runner) patch(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition, finalizers *[]string) error {
	var p statusPatch
	p.Metadata.ResourceVersion, p.Metadata.Finalizers, p.Status = crd.ResourceVersion, finalizers, crd.Status
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	_, err = r.admin.Do(ctx, apiclient.Request{
		Method: "PATCH", Path: "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/" + crd.Name + "/status",
		Query: manager, Body: body, ContentType: apiclient.MergePatch,
	})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil && ctx.Err() == nil {
		r.o.Logger.Warn("a definition's status cannot be written", zap.String("name", crd.Name), zap.Error(err))
	}
	return err
}
