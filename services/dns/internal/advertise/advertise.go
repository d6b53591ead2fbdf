// Package advertise keeps the Service that pods know the cluster's DNS by, and
// this server's EndpointSlice of it. It writes nothing while both are right.
//
// Plan decides; Advertiser carries out, told by Touch that something may have
// changed. A Service of that name that selects pods belongs to somebody who runs
// another DNS server, and is left alone with its endpoints.
package advertise

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"kubus.dev/proto/apiclient"
)

// Where the objects are. Tools look for this name and label.
const (
	Namespace = "kube-system"
	Name      = "kube-dns"
	managedBy = "kubus-dns"
)

// Options say what is to be advertised.
type Options struct {
	ClusterIP netip.Addr
	Endpoint  netip.AddrPort // where this server is reached
	Instance  string         // distinguishes servers; part of the slice's name
	Node      string         // the node the server is on; empty: unknown
}

// SliceName is the name of this server's EndpointSlice.
func (o *Options) SliceName() string { return Name + "-" + o.Instance }

// Steps are the writes that are missing; nil fields are none.
type Steps struct {
	CreateService *corev1.Service
	CreateSlice   *discoveryv1.EndpointSlice
	UpdateSlice   *discoveryv1.EndpointSlice
	// Foreign: the Service is somebody else's.
	Foreign bool
}

// Plan compares what there is, nil for nothing, with what should be.
func Plan(o *Options, service *corev1.Service, slice *discoveryv1.EndpointSlice) Steps {
	var s Steps
	if service != nil && len(service.Spec.Selector) > 0 {
		s.Foreign = true
		return s
	}
	if service == nil {
		s.CreateService = o.service()
	}
	want := o.slice()
	switch {
	case slice == nil:
		s.CreateSlice = want
	case !same(slice, want):
		s.UpdateSlice = want
		s.UpdateSlice.ResourceVersion = slice.ResourceVersion
	}
	return s
}

func same(have, want *discoveryv1.EndpointSlice) bool {
	for k, v := range want.Labels {
		if have.Labels[k] != v {
			return false
		}
	}
	return have.AddressType == want.AddressType &&
		equality.Semantic.DeepEqual(have.Endpoints, want.Endpoints) && equality.Semantic.DeepEqual(have.Ports, want.Ports)
}

func (o *Options) service() *corev1.Service {
	port := func(name string, p corev1.Protocol) corev1.ServicePort {
		return corev1.ServicePort{Name: name, Port: 53, Protocol: p, TargetPort: intstr.FromInt32(int32(o.Endpoint.Port()))}
	}
	return &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: Name, Labels: map[string]string{
			"k8s-app":                       "kube-dns",
			"kubernetes.io/cluster-service": "true",
			"kubernetes.io/name":            "CoreDNS",
		}},
		Spec: corev1.ServiceSpec{
			ClusterIP: o.ClusterIP.String(), ClusterIPs: []string{o.ClusterIP.String()},
			Ports: []corev1.ServicePort{port("dns", corev1.ProtocolUDP), port("dns-tcp", corev1.ProtocolTCP)},
		},
	}
}

func (o *Options) slice() *discoveryv1.EndpointSlice {
	port := func(name string, p corev1.Protocol) discoveryv1.EndpointPort {
		number := int32(o.Endpoint.Port())
		return discoveryv1.EndpointPort{Name: &name, Protocol: &p, Port: &number}
	}
	yes, no := true, false
	endpoint := discoveryv1.Endpoint{
		Addresses:  []string{o.Endpoint.Addr().String()},
		Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no},
	}
	if o.Node != "" {
		endpoint.NodeName = &o.Node
	}
	kind := discoveryv1.AddressTypeIPv4
	if o.Endpoint.Addr().Is6() {
		kind = discoveryv1.AddressTypeIPv6
	}
	return &discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: o.SliceName(), Labels: map[string]string{
			discoveryv1.LabelServiceName: Name,
			discoveryv1.LabelManagedBy:   managedBy,
		}},
		AddressType: kind,
		Endpoints:   []discoveryv1.Endpoint{endpoint},
		Ports:       []discoveryv1.EndpointPort{port("dns", corev1.ProtocolUDP), port("dns-tcp", corev1.ProtocolTCP)},
	}
}

// Present reads what there is from the state log; nil for nothing.
type Present func() (*corev1.Service, *discoveryv1.EndpointSlice, error)

// Advertiser carries out plans.
type Advertiser struct {
	opts    Options
	api     *apiclient.Client
	present Present
	log     *zap.Logger
	wake    chan struct{} // holds one
}

// New makes an Advertiser; Run starts it.
func New(o Options, api *apiclient.Client, present Present, logger *zap.Logger) *Advertiser {
	return &Advertiser{opts: o, api: api, present: present, log: logger, wake: make(chan struct{}, 1)}
}

// Touch says that the Service or the slice may have changed. It never blocks.
func (a *Advertiser) Touch() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// The back-off after a failed write.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 15 * time.Second
)

// Run keeps the objects until ctx ends. Whatever fails is tried again.
func (a *Advertiser) Run(ctx context.Context) error {
	retry := firstRetry
	for {
		var again <-chan time.Time
		if err := a.reconcile(ctx); err != nil && ctx.Err() == nil {
			// The namespace or a gateway may be a moment away: say so only when it lasts.
			if retry >= time.Second {
				a.log.Warn("the DNS Service is not advertised yet", zap.Error(err))
			}
			again = time.After(retry)
			retry = min(2*retry, lastRetry)
		} else {
			retry = firstRetry
		}
		select {
		case <-ctx.Done():
			return nil
		case <-again:
		case <-a.wake:
		}
	}
}

func (a *Advertiser) reconcile(ctx context.Context) error {
	service, slice, err := a.present()
	if err != nil {
		return err
	}
	steps := Plan(&a.opts, service, slice)
	const services, slices = "/api/v1/namespaces/" + Namespace + "/services", "/apis/discovery.k8s.io/v1/namespaces/" + Namespace + "/endpointslices"
	switch {
	case steps.Foreign:
		a.log.Info("Service kube-dns selects pods: another DNS server is in charge")
		return nil
	case service != nil && service.Spec.ClusterIP != a.opts.ClusterIP.String():
		a.log.Warn("pods are told another DNS address than the Service has",
			zap.String("cluster_ip", service.Spec.ClusterIP), zap.Stringer("configured", a.opts.ClusterIP))
	}
	if steps.CreateService != nil {
		if _, err := apiclient.Create[corev1.Service](ctx, a.api, services, steps.CreateService); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("creating the Service %s: %w", Name, err)
		}
	}
	if steps.CreateSlice != nil {
		if _, err := apiclient.Create[discoveryv1.EndpointSlice](ctx, a.api, slices, steps.CreateSlice); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("creating the EndpointSlice %s: %w", a.opts.SliceName(), err)
		}
	}
	if steps.UpdateSlice != nil {
		if _, err := apiclient.Update[discoveryv1.EndpointSlice](ctx, a.api, slices+"/"+a.opts.SliceName(), steps.UpdateSlice); err != nil && !apierrors.IsConflict(err) {
			return fmt.Errorf("updating the EndpointSlice %s: %w", a.opts.SliceName(), err)
		}
	}
	return nil
}
