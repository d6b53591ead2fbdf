package reconcile

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/message"
	"kubus.dev/proto/statelog"
	"kubus.dev/proto/tell"
	"kubus.dev/services/cloud/internal/provider"
)

// Reconciler follows nodes and Services. It sleeps until one changes, looks at all
// of them, and writes what differs in one bulk.
type Reconciler struct {
	provider provider.Provider
	client   *apiclient.Client
	log      *zap.Logger
	nodes    *statelog.Informer[corev1.Node]
	services *statelog.Informer[corev1.Service]
	changed  chan struct{}
	told     map[string]string // last event's message by Service UID
}

// Resources is what it reads of the state log.
func Resources() []proto.GroupResource {
	return []proto.GroupResource{{Resource: "nodes"}, {Resource: "services"}}
}

// New makes a reconciler.
func New(p provider.Provider, client *apiclient.Client, views *statelog.Views, logger *zap.Logger) *Reconciler {
	r := Resources()
	return &Reconciler{
		provider: p, client: client, log: logger,
		nodes:    statelog.NewInformer[corev1.Node](views.For(r[0]), r[0], logger),
		services: statelog.NewInformer[corev1.Service](views.For(r[1]), r[1], logger),
		changed:  make(chan struct{}, 1), told: map[string]string{},
	}
}

// Run reconciles until ctx ends. fence may be nil.
func (r *Reconciler) Run(ctx context.Context, fence *message.Fence) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.nodes.Run(ctx, func(_, _ *corev1.Node) { r.wake() }) })
	group.Go(func() error {
		return r.services.Run(ctx, func(old, now *corev1.Service) {
			if old == nil || now == nil || old.Generation != now.Generation || Balances(now) {
				r.wake()
			}
		})
	})
	group.Go(func() error { return r.loop(ctx, fence) })
	if err := group.Wait(); ctx.Err() == nil || !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (r *Reconciler) wake() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

func (r *Reconciler) loop(ctx context.Context, fence *message.Fence) error {
	for _, synced := range []<-chan struct{}{r.nodes.Synced(), r.services.Synced()} {
		select {
		case <-synced:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	backOff := time.Second
	for {
		select {
		case <-r.changed:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := r.reconcile(ctx, fence); err != nil && ctx.Err() == nil {
			r.log.Warn("reconciling with the provider, will try again", zap.Duration("duration", backOff), zap.Error(err))
			select {
			case <-time.After(backOff):
			case <-ctx.Done():
				return ctx.Err()
			}
			backOff = min(2*backOff, time.Minute)
			r.wake()
			continue
		}
		backOff = time.Second
	}
}

// reconcile looks at everything once.
func (r *Reconciler) reconcile(ctx context.Context, fence *message.Fence) error {
	nodes := r.nodes.List("")
	requests, err := r.nodeWrites(ctx, nodes)
	if err != nil {
		return err
	}
	more, err := r.serviceWrites(ctx, nodes)
	if err != nil {
		return err
	}
	requests = append(requests, more...)
	results, err := r.client.Bulk(ctx, apiclient.BulkOptions{Fence: fence}, requests)
	if err != nil {
		return fmt.Errorf("writing %d changes: %w", len(requests), err)
	}
	var failed error
	for i, result := range results {
		if result.Err != nil && !apierrors.IsNotFound(result.Err) {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", requests[i].Path, result.Err))
		}
	}
	return failed
}

func (r *Reconciler) nodeWrites(ctx context.Context, nodes []*corev1.Node) ([]apiclient.Request, error) {
	var out []apiclient.Request
	for _, n := range nodes {
		machine, err := r.provider.Instance(ctx, n)
		if err != nil {
			return nil, fmt.Errorf("asking for the machine of node %s: %w", n.Name, err)
		}
		writes, err := NodeWrites(n, machine)
		if err != nil {
			return nil, err
		}
		out = append(out, writes...)
	}
	return out, nil
}

func (r *Reconciler) serviceWrites(ctx context.Context, nodes []*corev1.Node) ([]apiclient.Request, error) {
	var ours []*corev1.Service
	var out []apiclient.Request
	for _, s := range r.services.List("") {
		if Balances(s) {
			ours = append(ours, s)
		} else if s.Spec.Type != corev1.ServiceTypeLoadBalancer && len(s.Status.LoadBalancer.Ingress) > 0 {
			if w, err := ServiceWrite(s, nil); err != nil {
				return nil, err
			} else if w != nil {
				out = append(out, *w)
			}
		}
	}
	if len(ours) == 0 {
		clear(r.told)
		return out, nil
	}
	balancers, err := r.provider.Balance(ctx, ours, nodes)
	if err != nil {
		return nil, fmt.Errorf("asking for load balancers: %w", err)
	}
	for i, s := range ours {
		w, err := ServiceWrite(s, balancers[i].Ingress)
		if err != nil {
			return nil, err
		}
		if w != nil {
			out = append(out, *w)
		}
		if e := r.event(s, balancers[i]); e != nil {
			out = append(out, *e)
		}
	}
	return out, nil
}

// event tells once of each change of a Service's fate.
func (r *Reconciler) event(s *corev1.Service, b provider.Balancer) *apiclient.Request {
	kind, reason, text := corev1.EventTypeNormal, "EnsuredLoadBalancer", "Ensured load balancer"
	switch {
	case b.Refusal != "":
		kind, reason, text = corev1.EventTypeWarning, "SyncLoadBalancerFailed", "Error syncing load balancer: "+b.Refusal
	case len(b.Ingress) == 0:
		kind, reason, text = corev1.EventTypeWarning, "UnAvailableLoadBalancer", "There are no available nodes for LoadBalancer"
	case same(s.Status.LoadBalancer.Ingress, b.Ingress):
		return nil
	}
	if r.told[string(s.UID)] == text {
		return nil
	}
	r.told[string(s.UID)] = text
	body, err := json.Marshal(tell.Event(tell.Source{Component: "service-controller"}, &corev1.ObjectReference{
		Kind: "Service", APIVersion: "v1", Namespace: s.Namespace, Name: s.Name, UID: s.UID, ResourceVersion: s.ResourceVersion,
	}, strings.ToLower(rand.Text()[:16]), kind, reason, text, time.Now()))
	if err != nil {
		return nil // an Event of plain strings always encodes
	}
	return &apiclient.Request{Method: http.MethodPost, Path: "/api/v1/namespaces/" + s.Namespace + "/events", Body: body}
}
