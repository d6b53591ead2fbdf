package chain

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	epmetrics "k8s.io/apiserver/pkg/endpoints/metrics"
	"k8s.io/apiserver/pkg/endpoints/request"

	"kubus.dev/gateway/internal/resource"
)

// requestTimeout is upstream's --request-timeout.
const requestTimeout = 60 * time.Second

// bodyGrace is what a request's body may take longer than the request, so that the
// request is what ends first.
const bodyGrace = time.Second

// Options are the parts of the chain.
type Options struct {
	Authenticator authenticator.Request
	Authorizer    authorizer.UnconditionalAuthorizer
	// Impersonate changes the user where headers ask for it; nil does not.
	Impersonate func(http.Handler) http.Handler
	// Audit writes requests down once it is known whose they are; nil does not.
	Audit func(http.Handler) http.Handler
	// AuditFailed writes down requests that were not authenticated; nil does not.
	AuditFailed func(http.Handler) http.Handler
	// Fair has requests wait for their turn, once it is known whose they are; nil does not.
	Fair func(http.Handler) http.Handler
	// Next serves what was let through.
	Next http.Handler
	// Serves tells whether a resource exists; metrics have no names of others.
	Serves func(schema.GroupVersionResource) bool
	Logger *zap.Logger
	// Metrics gets the counters of requests; nil: nobody does.
	Metrics prometheus.Registerer
}

// Chain serves requests through the filters.
type Chain struct {
	o        Options
	resolver *request.RequestInfoFactory
	metrics  *metrics
	known    http.Handler // from the audit on: the user is in the context
	unknown  http.Handler // answers who did not say who it is
	strange  *zap.Logger  // of what strangers cause, which must not fill the disk
}

// New makes the chain.
func New(o Options) *Chain {
	c := &Chain{o: o, metrics: newMetrics(o.Metrics), strange: seldom(o.Logger), resolver: &request.RequestInfoFactory{
		APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api"),
	}}
	c.known = c.authorize(o.Next)
	if o.Fair != nil {
		c.known = o.Fair(c.known)
	}
	if o.Impersonate != nil {
		c.known = o.Impersonate(c.known)
	}
	if o.Audit != nil {
		c.known = o.Audit(c.known)
	}
	c.unknown = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.refuse(w, r, apierrors.NewUnauthorized("Unauthorized"))
	})
	if o.AuditFailed != nil {
		c.unknown = o.AuditFailed(c.unknown)
	}
	return c
}

// ServeHTTP serves a request of somebody who has to say who it is.
func (c *Chain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.serve(w, r, func(w http.ResponseWriter, r *http.Request) {
		resp, ok, err := c.o.Authenticator.AuthenticateRequest(r)
		if err != nil || !ok {
			c.unauthorized(w, r, err)
			return
		}
		r.Header.Del("Authorization")
		c.known.ServeHTTP(w, r.WithContext(request.WithUser(r.Context(), resp.User)))
	})
}

// ServeAs serves a request of a user whom the transport has authenticated.
func (c *Chain) ServeAs(u user.Info, w http.ResponseWriter, r *http.Request) {
	nameAgent(r, u)
	c.serve(w, r, func(w http.ResponseWriter, r *http.Request) {
		c.known.ServeHTTP(w, r.WithContext(request.WithUser(r.Context(), u)))
	})
}

// serve gives the request its audit id first, so that every answer has one.
func (c *Chain) serve(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	filters.WithAuditInit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.understand(w, r, next) })).ServeHTTP(w, r)
}

// understand finds out what is asked and how long it may take.
func (c *Chain) understand(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	defer c.recovered(w, r)
	info, err := c.resolver.NewRequestInfo(r)
	if err != nil {
		responsewriters.InternalError(w, r, fmt.Errorf("failed to create RequestInfo: %w", err))
		return
	}
	w.Header().Set("Cache-Control", "no-cache, private")
	ctx := request.WithRequestInfo(r.Context(), info)
	began, streams := time.Now(), LongRunning(r, info)
	// What webhooks and the wait for a seat take is not the server's own time (apiserver_request_sli_duration_seconds).
	ctx = request.WithLatencyTrackers(request.WithReceivedTimestamp(ctx, began))
	a := &answer{ResponseWriter: w}
	known := info.IsResourceRequest && c.o.Serves != nil && c.o.Serves(schema.GroupVersionResource{Group: info.APIGroup, Version: info.APIVersion, Resource: info.Resource})
	served := false
	defer func() {
		if !served && a.code == 0 {
			a.code = http.StatusInternalServerError // a panic, which recovered answers
		}
		c.metrics.observe(r.WithContext(ctx), info, known, a, began)
	}()
	w = a
	if streams && known && longRunning(info.Subresource) {
		serve := next
		next = func(w http.ResponseWriter, r *http.Request) {
			epmetrics.RecordLongRunning(r, info, epmetrics.APIServerComponent, func() { serve(w, r) })
		}
	}
	if !streams {
		defer c.metrics.begin(info)()
		timeout, err := timeoutOf(r)
		if err != nil {
			c.refuse(w, r.WithContext(ctx), apierrors.NewBadRequest(err.Error()))
			served = true
			return
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
		if r.ContentLength != 0 {
			// A body that does not come holds its request no longer than others may last.
			// What is no connection of the network's has no deadlines.
			_ = http.NewResponseController(w).SetReadDeadline(began.Add(timeout + bodyGrace))
		}
	}
	filters.WithWarningRecorder(next).ServeHTTP(w, r.WithContext(ctx))
	served = true
}

// LongRunning tells requests that last as long as their client likes.
func LongRunning(_ *http.Request, info *request.RequestInfo) bool {
	switch info.Verb {
	case "watch", "proxy":
		return true
	}
	if info.Subresource != "" && longRunning(info.Subresource) {
		return true
	}
	return !info.IsResourceRequest && strings.HasPrefix(info.Path, "/debug/pprof/")
}

// longRunning tells subresources that stream; "" is the resource itself, whose watch does.
func longRunning(subresource string) bool {
	switch subresource {
	case "", "exec", "attach", "portforward", "proxy", "log":
		return true
	}
	return false
}

// timeoutOf is the time that the request asks for, at most requestTimeout.
func timeoutOf(r *http.Request) (time.Duration, error) {
	if !strings.Contains(r.URL.RawQuery, "timeout=") {
		return requestTimeout, nil
	}
	text := r.URL.Query().Get("timeout")
	if text == "" {
		return requestTimeout, nil
	}
	timeout, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("invalid timeout specified in the request URL - time: invalid duration %q", text)
	}
	if timeout <= 0 || timeout > requestTimeout {
		return requestTimeout, nil
	}
	return timeout, nil
}

func (c *Chain) recovered(w http.ResponseWriter, r *http.Request) {
	switch reason := recover(); reason {
	case nil:
	case http.ErrAbortHandler:
		panic(reason)
	default:
		c.metrics.panics.Inc()
		c.o.Logger.Error("request panicked", zap.String("method", r.Method), zap.String("path", r.URL.Path),
			zap.Any("reason", reason), zap.ByteString("stack", debug.Stack()))
		http.Error(w, "This request caused apiserver to panic. Look in the logs for details.", http.StatusInternalServerError)
	}
}

func (c *Chain) unauthorized(w http.ResponseWriter, r *http.Request, err error) {
	if err != nil {
		c.strange.Warn("request not authenticated", zap.String("path", r.URL.Path), zap.Error(err))
	}
	c.unknown.ServeHTTP(w, r)
}

// seldom is a logger that says the same at most ten times a minute.
func seldom(l *zap.Logger) *zap.Logger {
	return l.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Minute, 10, 0)
	}))
}

func (c *Chain) refuse(w http.ResponseWriter, r *http.Request, err error) {
	gv := schema.GroupVersion{Version: "v1"}
	if info, ok := request.RequestInfoFrom(r.Context()); ok && info.APIVersion != "" {
		gv = schema.GroupVersion{Group: info.APIGroup, Version: info.APIVersion}
	}
	responsewriters.ErrorNegotiated(err, resource.Codecs, gv, w, r)
}

func (c *Chain) authorize(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		attributes, err := filters.GetAuthorizerAttributes(r.Context())
		if err != nil {
			responsewriters.InternalError(w, r, err)
			return
		}
		decision, reason, err := c.o.Authorizer.Authorize(r.Context(), attributes)
		switch {
		case decision == authorizer.DecisionAllow:
			next.ServeHTTP(w, r)
		case err != nil:
			responsewriters.InternalError(w, r, err)
		default:
			responsewriters.Forbidden(attributes, w, r, reason, resource.Codecs)
		}
	})
}
