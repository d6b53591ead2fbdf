package advertise_test

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"kubus.dev/services/dns/internal/advertise"
)

func TestThePlanWritesWhatIsMissingAndNothingElse(t *testing.T) {
	t.Parallel()
	o := &advertise.Options{
		ClusterIP: netip.MustParseAddr("10.96.0.10"), Endpoint: netip.MustParseAddrPort("192.0.2.1:10053"), Instance: "here", Node: "here",
	}
	first := advertise.Plan(o, nil, nil)
	if first.CreateService == nil || first.CreateSlice == nil || first.UpdateSlice != nil {
		t.Fatalf("with nothing there: got %+v, want both created", first)
	}
	service, slice := first.CreateService, first.CreateSlice
	moved := slice.DeepCopy()
	moved.ResourceVersion = "7"
	moved.Endpoints[0].Addresses[0] = "192.0.2.9"
	unlabelled := slice.DeepCopy()
	delete(unlabelled.Labels, discoveryv1.LabelServiceName)
	labelled := slice.DeepCopy()
	labelled.Labels["mine"] = "yes"
	foreign := service.DeepCopy()
	foreign.Spec.Selector = map[string]string{"k8s-app": "kube-dns"}

	for name, tc := range map[string]struct {
		service                          *corev1.Service
		slice                            *discoveryv1.EndpointSlice
		createService, create, update, f bool
	}{
		"both are right":                            {service: service, slice: slice},
		"somebody added a label":                    {service: service, slice: labelled},
		"the Service is gone":                       {slice: slice, createService: true},
		"the slice is gone":                         {service: service, create: true},
		"the address changed":                       {service: service, slice: moved, update: true},
		"the label that makes it ours is gone":      {service: service, slice: unlabelled, update: true},
		"the Service selects pods of another":       {service: foreign, f: true},
		"the Service selects pods, and we have one": {service: foreign, slice: slice, f: true},
	} {
		got := advertise.Plan(o, tc.service, tc.slice)
		if (got.CreateService != nil) != tc.createService || (got.CreateSlice != nil) != tc.create || (got.UpdateSlice != nil) != tc.update || got.Foreign != tc.f {
			t.Errorf("%s: got %+v", name, got)
		}
		if got.UpdateSlice != nil && got.UpdateSlice.ResourceVersion != tc.slice.ResourceVersion {
			t.Errorf("%s: the update is not bound to the version that was read", name)
		}
	}
}
