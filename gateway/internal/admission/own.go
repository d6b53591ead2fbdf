package admission

import (
	"context"
	"errors"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"

	"kubus.dev/proto"
)

// dnsName is the Service of the cluster's DNS, and how its EndpointSlices begin.
const dnsName = "kube-dns"

var errNotDNS = errors.New("the cluster's DNS writes its own Service and EndpointSlices only")

// own is the chain, behind which services of ours that RBAC cannot hold to objects of their
// own are held to them: it restricts no creation by name. What the DNS writes decides where
// the traffic of all pods goes.
type own struct{ admission.Interface }

// Admit is upstream's admission.MutationInterface.
func (o own) Admit(ctx context.Context, a admission.Attributes, i admission.ObjectInterfaces) error {
	if m, ok := o.Interface.(admission.MutationInterface); ok {
		return m.Admit(ctx, a, i)
	}
	return nil
}

// Validate is upstream's admission.ValidationInterface.
func (o own) Validate(ctx context.Context, a admission.Attributes, i admission.ObjectInterfaces) error {
	if user := a.GetUserInfo(); user != nil && user.GetName() == proto.DNSUser && !ofDNS(a) {
		return admission.NewForbidden(a, errNotDNS)
	}
	if v, ok := o.Interface.(admission.ValidationInterface); ok {
		return v.Validate(ctx, a, i)
	}
	return nil
}

// ofDNS tells whether a write is of the DNS's own objects, as they were and as they become,
// or of no kind that leads traffic, where RBAC gives it no right.
func ofDNS(a admission.Attributes) bool {
	resource := a.GetResource().GroupResource()
	slices := resource == discoveryv1.Resource("endpointslices")
	if !slices && resource != corev1.Resource("services") && resource != corev1.Resource("endpoints") {
		return true
	}
	for _, object := range []runtime.Object{a.GetObject(), a.GetOldObject()} {
		if object == nil {
			continue
		}
		m, err := meta.Accessor(object)
		switch {
		case err != nil:
			return false
		case slices && (m.GetLabels()[discoveryv1.LabelServiceName] != dnsName || !strings.HasPrefix(m.GetName(), dnsName+"-")):
			return false
		case !slices && (resource.Resource != "services" || m.GetName() != dnsName):
			return false
		}
	}
	return a.GetNamespace() == metav1.NamespaceSystem && a.GetObject() != nil && a.GetSubresource() == ""
}
