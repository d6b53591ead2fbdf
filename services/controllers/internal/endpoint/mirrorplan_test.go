//lint:file-ignore SA1019 Endpoints are deprecated, and kept for those who still write them.

package endpoint

import (
	"cmp"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func byHand(subsets ...corev1.EndpointSubset) *corev1.Endpoints {
	return &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "db", UID: "e", Labels: map[string]string{"team": "a"},
			Annotations: map[string]string{"note": "x", corev1.EndpointsLastChangeTriggerTime: "t", corev1.LastAppliedConfigAnnotation: "{}"},
		},
		Subsets: subsets,
	}
}

func subset(port int32, ready, unready []string) corev1.EndpointSubset {
	s := corev1.EndpointSubset{Ports: []corev1.EndpointPort{{Name: "p", Port: port, Protocol: corev1.ProtocolTCP}}}
	for _, ip := range ready {
		s.Addresses = append(s.Addresses, corev1.EndpointAddress{IP: ip})
	}
	for _, ip := range unready {
		s.NotReadyAddresses = append(s.NotReadyAddresses, corev1.EndpointAddress{IP: ip})
	}
	return s
}

// show writes slices as "name family port: ip[!]…", ! for what is not ready.
func show(slices []*discoveryv1.EndpointSlice) string {
	var lines []string
	for _, s := range slices {
		line := fmt.Sprintf("%s %s %d:", cmp.Or(s.Name, s.GenerateName), s.AddressType, *s.Ports[0].Port)
		for _, e := range s.Endpoints {
			line += " " + e.Addresses[0]
			if !*e.Conditions.Ready {
				line += "!"
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "; ")
}

// stored are the slices of Endpoints as if written, named s0, s1…
func stored(endpoints *corev1.Endpoints) []*discoveryv1.EndpointSlice {
	wanted, _ := mirrors(endpoints)
	for i, s := range wanted {
		s.Name = fmt.Sprintf("s%d", i)
	}
	return wanted
}

func TestPlanMirror(t *testing.T) {
	relabelled := byHand(subset(80, []string{"192.0.2.1"}, nil))
	relabelled.Labels = map[string]string{"team": "b"}
	var crowd []string
	for i := range mirrorMost + 5 {
		crowd = append(crowd, fmt.Sprintf("10.0.%d.%d", i/250, i%250))
	}
	for _, c := range []struct {
		name                   string
		endpoints              *corev1.Endpoints
		existing               []*discoveryv1.EndpointSlice
		create, update, remove string
		skip                   skipped
	}{
		{name: "new Endpoints get a slice", endpoints: byHand(subset(80, []string{"192.0.2.1"}, []string{"192.0.2.2"})), create: "db- IPv4 80: 192.0.2.2! 192.0.2.1"},
		{name: "one for each set of ports and family", endpoints: byHand(subset(80, []string{"192.0.2.1", "2001:db8::1"}, nil), subset(81, []string{"192.0.2.1"}, nil)),
			create: "db- IPv4 80: 192.0.2.1; db- IPv6 80: 2001:db8::1; db- IPv4 81: 192.0.2.1"},
		{name: "subsets with the same ports share it, an address counts once", endpoints: byHand(subset(80, []string{"192.0.2.1"}, nil), subset(80, []string{"192.0.2.2"}, []string{"192.0.2.1"})),
			create: "db- IPv4 80: 192.0.2.1 192.0.2.2"},
		{name: "what is right stays", endpoints: byHand(subset(80, []string{"192.0.2.1"}, nil)), existing: stored(byHand(subset(80, []string{"192.0.2.1"}, nil)))},
		{name: "an address more is an update", endpoints: byHand(subset(80, []string{"192.0.2.1", "192.0.2.2"}, nil)), existing: stored(byHand(subset(80, []string{"192.0.2.1"}, nil))),
			update: "s0 IPv4 80: 192.0.2.1 192.0.2.2"},
		{name: "so are other labels", endpoints: relabelled, existing: stored(byHand(subset(80, []string{"192.0.2.1"}, nil))), update: "s0 IPv4 80: 192.0.2.1"},
		{name: "other ports reuse the slice", endpoints: byHand(subset(81, []string{"192.0.2.1"}, nil)), existing: stored(byHand(subset(80, []string{"192.0.2.1"}, nil))),
			update: "s0 IPv4 81: 192.0.2.1"},
		{name: "another family does not", endpoints: byHand(subset(80, []string{"2001:db8::1"}, nil)), existing: stored(byHand(subset(80, []string{"192.0.2.1"}, nil))),
			create: "db- IPv6 80: 2001:db8::1", remove: "s0 IPv4 80: 192.0.2.1"},
		{name: "Endpoints without addresses have no slice", endpoints: byHand(), existing: stored(byHand(subset(80, []string{"192.0.2.1"}, nil))), remove: "s0 IPv4 80: 192.0.2.1"},
		{name: "nothing to mirror leaves nothing", existing: stored(byHand(subset(80, []string{"192.0.2.1"}, nil))), remove: "s0 IPv4 80: 192.0.2.1"},
		{name: "what is no address is skipped and told", endpoints: byHand(subset(80, []string{"db.example", "192.0.2.1"}, nil)), create: "db- IPv4 80: 192.0.2.1", skip: skipped{invalid: 1}},
		{name: "so are too many", endpoints: byHand(subset(80, crowd, nil)), create: "db- IPv4 80: " + strings.Join(crowd[:mirrorMost], " "), skip: skipped{tooMany: 5}},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan, skip := planMirror(c.endpoints, c.existing)
			for what, got := range map[string][2]string{
				"create": {show(plan.Create), c.create}, "update": {show(plan.Update), c.update}, "delete": {show(plan.Delete), c.remove},
			} {
				if got[0] != got[1] {
					t.Errorf("%s: got %q, want %q", what, got[0], got[1])
				}
			}
			if skip != c.skip {
				t.Errorf("skipped %+v, want %+v", skip, c.skip)
			}
			for _, s := range append(plan.Create, plan.Update...) {
				if s.Labels[discoveryv1.LabelServiceName] != "db" || s.Labels[discoveryv1.LabelManagedBy] != mirrorManager || len(s.Annotations) != 1 || s.GenerateName != "db-" || s.OwnerReferences[0].UID != "e" {
					t.Errorf("metadata: %+v", s.ObjectMeta)
				}
			}
		})
	}
}

func TestWhatIsMirrored(t *testing.T) {
	bare := &corev1.Service{}
	external := newService()
	external.Spec.Type = corev1.ServiceTypeExternalName
	labelled, elected, going := byHand(), byHand(), byHand()
	labelled.Labels[discoveryv1.LabelSkipMirror] = "true"
	elected.Annotations[leaderRecord] = "{}"
	at := metav1.NewTime(now)
	going.DeletionTimestamp = &at
	for _, c := range []struct {
		name      string
		service   *corev1.Service
		endpoints *corev1.Endpoints
		want      bool
	}{
		{"Endpoints of a service without a selector", bare, byHand(), true},
		{"not those of a service with one", newService(), byHand(), false},
		{"even if it is a name outside", external, byHand(), false},
		{"nor without a service", nil, byHand(), false},
		{"nor without Endpoints", bare, nil, false},
		{"nor when asked not to", bare, labelled, false},
		{"nor a leader's record", bare, elected, false},
		{"nor what goes away", bare, going, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := mirrored(c.service, c.endpoints); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
