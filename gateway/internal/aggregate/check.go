package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/transport"
	api "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"kubus.dev/proto/statelog"
)

const (
	// checkEvery is upstream's: how often a server that answers is asked again.
	checkEvery = 30 * time.Second
	// A server that does not is asked again after retryFirst, doubling to checkEvery.
	retryFirst = 500 * time.Millisecond
	// checkTimeout is upstream's for one answer.
	checkTimeout = 5 * time.Second
	// checkAttempts are how many answers are waited for side by side, as upstream: one
	// endpoint that hangs does not make a Service unavailable.
	checkAttempts = 5
	// discoveryMost bounds what a server may say about itself, in bytes.
	discoveryMost = 4 << 20
)

// check asks an APIService's server whether it is there, whenever its Service or its
// endpoints change and from time to time, until ctx ends.
func (a *Aggregator) check(ctx context.Context, name string) {
	for retry := retryFirst; ctx.Err() == nil; {
		r := a.remote(name)
		if r == nil || r.service == nil {
			return
		}
		changed, wait := a.changes(*r.service), checkEvery
		if a.checkOnce(ctx, r) {
			retry = retryFirst
		} else {
			wait, retry = retry, min(2*retry, checkEvery)
		}
		waitCtx, cancel := context.WithTimeout(ctx, wait)
		changed.wait(waitCtx)
		cancel()
		changed.stop()
	}
}

// checkOnce asks and writes down the result; it says whether the server is there.
func (a *Aggregator) checkOnce(ctx context.Context, r *remote) bool {
	heard := *r
	condition := judge(*r.service, a.service(*r.service), a.slices(*r.service))
	if condition == nil {
		said, err := a.ask(ctx, r)
		if err != nil {
			condition = unavailable("FailedDiscoveryCheck", "%v", err)
		} else {
			condition = passed()
			if r.service != nil {
				heard.resources, heard.described = said, a.documented(ctx, r)
			}
		}
	}
	if ctx.Err() != nil {
		return false
	}
	heard.available = condition.Status == api.ConditionTrue
	a.heard(r, &heard)
	if err := a.writeCondition(ctx, r.name, condition); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		a.o.Logger.Warn("the status of an APIService cannot be written", zap.String("name", r.name), zap.Error(err))
		return false
	}
	return heard.available
}

func (a *Aggregator) service(ref api.ServiceReference) *corev1.Service {
	e := a.o.View(services).Get(services, ref.Namespace, ref.Name)
	if e == nil {
		return nil
	}
	s, err := statelog.Decode[corev1.Service](e)
	if err != nil {
		return nil
	}
	return s
}

func (a *Aggregator) slices(ref api.ServiceReference) []*discoveryv1.EndpointSlice {
	var out []*discoveryv1.EndpointSlice
	a.o.View(endpointSlices).Snapshot(endpointSlices).Ascend(ref.Namespace, func(e *statelog.Entry) bool {
		if e.Meta().Labels[discoveryv1.LabelServiceName] == ref.Name {
			if s, err := statelog.Decode[discoveryv1.EndpointSlice](e); err == nil {
				out = append(out, s)
			}
		}
		return true
	})
	return out
}

// ask gets a server's own description of its group version: the first answer of
// several, or the last error.
func (a *Aggregator) ask(ctx context.Context, r *remote) ([]metav1.APIResource, error) {
	if r.broken != nil {
		return nil, r.broken
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	type answer struct {
		list []metav1.APIResource
		err  error
	}
	answers := make(chan answer, checkAttempts)
	for range checkAttempts {
		go func() { // each ends with ctx, and there is room for its answer
			list, err := r.describe(ctx)
			answers <- answer{list, err}
		}()
	}
	var last error
	for range checkAttempts {
		got := <-answers
		if got.err == nil {
			return got.list, nil
		}
		last = got.err
	}
	return nil, last
}

// documented bounds how long the documents of a server that is there are waited for.
func (a *Aggregator) documented(ctx context.Context, r *remote) *described {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return r.documented(ctx, r.described)
}

// describe is one request for /apis/GROUP/VERSION.
func (r *remote) describe(ctx context.Context) ([]metav1.APIResource, error) {
	at := &url.URL{Scheme: "https", Host: r.host(), Path: "/apis/" + r.gv.Group + "/" + r.gv.Version}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	transport.SetAuthProxyHeaders(req, "system:kube-aggregator", "", []string{"system:masters"}, nil)
	resp, err := r.transport.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("failing or missing response from %v: %w", at, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < http.StatusOK || resp.StatusCode >= http.StatusMultipleChoices {
		return nil, fmt.Errorf("failing or missing response from %v: bad status from %v: %d", at, at, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, discoveryMost+1))
	if err == nil && len(body) > discoveryMost {
		err = errors.New("the description is too long")
	}
	var list metav1.APIResourceList
	if err == nil {
		// A server may answer in another form than upstream's: it is there, and shows nothing.
		_ = json.Unmarshal(body, &list)
	}
	return list.APIResources, err
}
