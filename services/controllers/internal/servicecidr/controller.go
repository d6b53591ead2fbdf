// Package servicecidr keeps ServiceCIDRs, from which Services get their addresses:
//
//	made --> has the finalizer, Ready
//	          |
//	deleted --> its addresses are in use and in no other range: Ready False, Terminating
//	          +--> none is: 10 s later the finalizer goes
package servicecidr

import (
	"context"
	"fmt"
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

// manager owns the condition, and is the source of events, as upstream's.
const manager = "service-cidr-controller"

type controller struct {
	cidrs     *mirror.Kind[networkingv1.ServiceCIDR]
	addresses *mirror.Kind[networkingv1.IPAddress]
	writer    *write.Client
	events    *event.Recorder
}

// Controller keeps ServiceCIDRs.
func Controller() frame.Definition {
	return frame.Definition{Name: "service-cidr", User: "service-cidrs-controller", Component: manager, Make: func(e *frame.Env) (frame.Loop, error) {
		c := &controller{e.World.ServiceCIDRs, e.World.IPAddresses, e.Writer, e.Events}
		return frame.Keyed(e, c.reconcile, frame.On(c.cidrs, c.cidrChanged), frame.On(c.addresses, c.addressChanged)), nil
	}}
}

// cidrChanged wakes all ranges: they are few, and one may cover another.
func (c *controller) cidrChanged(_, _ *networkingv1.ServiceCIDR, add func(string)) {
	for _, cidr := range c.cidrs.List("") {
		add(cidr.Name)
	}
}

// addressChanged wakes the ranges that wait to be given up.
func (c *controller) addressChanged(old, new *networkingv1.IPAddress, add func(string)) {
	address := new
	if new == nil {
		address = old
	}
	ip, ok := ofService(address)
	if !ok || old != nil && new != nil {
		return
	}
	for _, cidr := range c.cidrs.List("") {
		if cidr.DeletionTimestamp != nil && contains(cidr, ip) {
			add(cidr.Name)
		}
	}
}

func (c *controller) reconcile(ctx context.Context, name string) (time.Duration, error) {
	cidr := c.cidrs.Get("", name)
	if cidr == nil {
		return 0, nil
	}
	next := plan(cidr, c.cidrs.List(""), func() []*networkingv1.IPAddress { return c.addresses.List("") }, time.Now())
	if next.Protect || next.Release {
		finalizers := slices.DeleteFunc(slices.Clone(cidr.Finalizers), func(f string) bool { return f == finalizer })
		if next.Protect {
			finalizers = append(finalizers, finalizer)
		}
		// The resourceVersion is the condition: others have finalizers too.
		patch := map[string]any{"metadata": map[string]any{"finalizers": finalizers, "resourceVersion": cidr.ResourceVersion}}
		if err := c.send(ctx, func() (apiclient.Request, error) { return write.Merge(c.cidrs.Path("", name), patch) }); err != nil {
			return 0, fmt.Errorf("writing the finalizers: %w", err)
		}
	}
	if next.Condition != nil {
		condition := *next.Condition
		condition.LastTransitionTime = metav1.Now()
		err := c.send(ctx, func() (apiclient.Request, error) {
			return write.Apply(c.cidrs.Path("", name, "status"), manager, map[string]any{
				"apiVersion": networkingv1.SchemeGroupVersion.String(), "kind": "ServiceCIDR", "metadata": map[string]any{"name": name},
				"status": map[string]any{"conditions": []metav1.Condition{condition}},
			})
		})
		if err != nil {
			if condition.Status == metav1.ConditionTrue {
				about := event.Object{GroupVersionKind: schema.FromAPIVersionAndKind("networking.k8s.io/v1", "ServiceCIDR"), Meta: cidr}
				c.events.Warning(about, "KubernetesServiceCIDRError", "The ServiceCIDR Status can not be set to Ready=True")
			}
			return 0, fmt.Errorf("writing the condition: %w", err)
		}
	}
	return next.Again, nil
}

// send makes one write and waits until the mirror shows it.
func (c *controller) send(ctx context.Context, build func() (apiclient.Request, error)) error {
	request, err := build()
	if err != nil {
		return err
	}
	body, err := c.writer.One(ctx, request)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return c.cidrs.WaitRevision(ctx, write.Revision(body))
}
