package admission

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"

	"kubus.dev/proto"
)

// The key of the DNS is on every machine that runs it: with it nobody leads another
// Service's traffic elsewhere.
func TestFinding4TheDNSWritesItsOwnObjectsAlone(t *testing.T) {
	t.Parallel()
	services, slices, endpoints := corev1.SchemeGroupVersion.WithResource("services"), discoveryv1.SchemeGroupVersion.WithResource("endpointslices"), corev1.SchemeGroupVersion.WithResource("endpoints")
	slice := func(name, of string) runtime.Object {
		return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: of}}}
	}
	service := func(name string) runtime.Object { return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}} }
	const system = metav1.NamespaceSystem
	for name, c := range map[string]struct {
		user             string
		resource         schema.GroupVersionResource
		sub, namespace   string
		object, replaced runtime.Object
		refused          bool
	}{
		"its Service":                              {proto.DNSUser, services, "", system, service("kube-dns"), nil, false},
		"a slice of it":                            {proto.DNSUser, slices, "", system, slice("kube-dns-a", "kube-dns"), nil, false},
		"that slice anew":                          {proto.DNSUser, slices, "", system, slice("kube-dns-a", "kube-dns"), slice("kube-dns-a", "kube-dns"), false},
		"another Service":                          {proto.DNSUser, services, "", system, service("metrics-server"), nil, true},
		"its Service in another namespace":         {proto.DNSUser, services, "", "default", service("kube-dns"), nil, true},
		"the status of its Service":                {proto.DNSUser, services, "status", system, service("kube-dns"), nil, true},
		"a slice of another Service":               {proto.DNSUser, slices, "", system, slice("kube-dns-a", "metrics-server"), nil, true},
		"a slice of another name":                  {proto.DNSUser, slices, "", system, slice("metrics-server-a", "kube-dns"), nil, true},
		"a slice that becomes one of it":           {proto.DNSUser, slices, "", system, slice("kube-dns-a", "kube-dns"), slice("kube-dns-a", "metrics-server"), true},
		"a slice that it takes from it":            {proto.DNSUser, slices, "", system, slice("kube-dns-a", "metrics-server"), slice("kube-dns-a", "kube-dns"), true},
		"Endpoints, of which slices are made":      {proto.DNSUser, endpoints, "", system, &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: "kube-dns"}}, nil, true}, //nolint:staticcheck // still served
		"a deletion":                               {proto.DNSUser, slices, "", system, nil, slice("kube-dns-a", "kube-dns"), true},
		"what RBAC gives it, of a kind beside":     {proto.DNSUser, corev1.SchemeGroupVersion.WithResource("configmaps"), "", "a", &corev1.ConfigMap{}, nil, false},
		"another's slice, by whoever writes these": {proto.ControllerUser("endpointslice-controller"), slices, "", "a", slice("x", "y"), nil, false},
	} {
		attributes := admission.NewAttributesRecord(c.object, c.replaced, schema.GroupVersionKind{}, c.namespace, "", c.resource, c.sub, admission.Create, nil, false, &user.DefaultInfo{Name: c.user})
		err := own{}.Validate(t.Context(), attributes, nil)
		if c.refused != apierrors.IsForbidden(err) || err != nil && !c.refused {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
