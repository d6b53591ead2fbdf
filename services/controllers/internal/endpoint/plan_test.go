//lint:file-ignore SA1019 Endpoints are deprecated, and kept for those who still read them.

package endpoint

import (
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func newService() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "svc", Labels: map[string]string{"team": "a"}},
		Spec: corev1.ServiceSpec{
			ClusterIP: "10.96.0.5", IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, Selector: map[string]string{"app": "web"},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(8080)}},
		},
	}
}

func newPod(n int, options ...func(*corev1.Pod)) *corev1.Pod {
	ip := fmt.Sprintf("10.244.%d.%d", n/250, n%250+1)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("web-%03d", n), UID: types.UID(fmt.Sprint(n)), Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{NodeName: "n"},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
	for _, o := range options {
		o(p)
	}
	return p
}

func unready(p *corev1.Pod)   { p.Status.Conditions[0].Status = corev1.ConditionFalse }
func done(p *corev1.Pod)      { p.Status.Phase = corev1.PodSucceeded }
func noAddress(p *corev1.Pod) { p.Status.PodIP, p.Status.PodIPs = "", nil }
func deleting(p *corev1.Pod)  { at := metav1.NewTime(now); p.DeletionTimestamp = &at }
func elsewhere(p *corev1.Pod) { p.Spec.NodeName = "gone" }

func node(name string) *corev1.Node {
	if name != "n" {
		return nil
	}
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: "z"}}}
}

func many(from, to int, options ...func(*corev1.Pod)) (pods []*corev1.Pod) {
	for n := from; n < to; n++ {
		pods = append(pods, newPod(n, options...))
	}
	return pods
}

// named gives planned slices the names a server would.
func named(slices []*discoveryv1.EndpointSlice) []*discoveryv1.EndpointSlice {
	for i, s := range slices {
		if s.Name == "" {
			s.Name = fmt.Sprintf("web-%d", i)
		}
	}
	return slices
}

func size(slices []*discoveryv1.EndpointSlice) string {
	var sizes []string
	for _, s := range slices {
		sizes = append(sizes, fmt.Sprint(len(s.Endpoints)))
	}
	sort.Strings(sizes)
	return strings.Join(sizes, " ")
}

func TestPlanSlices(t *testing.T) {
	t.Parallel()
	made := func(pods []*corev1.Pod) []*discoveryv1.EndpointSlice {
		return named(planSlices(newService(), pods, node, nil, now, noHints()).Create)
	}
	cases := []struct {
		name                   string
		service                func(*corev1.Service)
		pods                   []*corev1.Pod
		existing               []*discoveryv1.EndpointSlice
		create, update, remove string
	}{
		{name: "a service without pods gets a placeholder", create: "0"},
		{name: "the placeholder stays", existing: made(nil)},
		{name: "the first pod turns the placeholder into a slice", pods: many(0, 1), existing: made(nil), update: "1"},
		{name: "the last pod's end leaves the placeholder", existing: made(many(0, 1)), update: "0"},
		{name: "nothing changes, nothing is written", pods: many(0, 5), existing: made(many(0, 5))},
		{name: "pods fill slices of a hundred", pods: many(0, 250), create: "100 100 50"},
		{name: "one more goes into the slice with room", pods: many(0, 251), existing: made(many(0, 250)), update: "51"},
		{name: "a pod that changes is written in its slice only", pods: append(many(0, 249), newPod(249, unready)), existing: made(many(0, 250)), update: "50"},
		{name: "finished pods and pods without an address are left out", pods: []*corev1.Pod{newPod(1, done), newPod(2, noAddress), newPod(3)}, create: "1"},
		{name: "pods of nodes that do not exist are left out", pods: []*corev1.Pod{newPod(1, elsewhere), newPod(2)}, create: "1"},
		{name: "unless the service publishes what is not ready", pods: []*corev1.Pod{newPod(1, elsewhere), newPod(2)}, create: "2",
			service: func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true }},
		{name: "slices of another service of the name are replaced", pods: many(0, 1), existing: made(many(0, 1)), create: "1", remove: "1",
			service: func(s *corev1.Service) { s.UID = "another" }},
		{name: "a changed label of the service is written", pods: many(0, 1), existing: made(many(0, 1)), update: "1",
			service: func(s *corev1.Service) { s.Labels["team"] = "b" }},
		{name: "a service in deletion gets no new slices", pods: many(0, 1),
			service: func(s *corev1.Service) { at := metav1.NewTime(now); s.DeletionTimestamp = &at }},
		{name: "two families get a slice each", pods: many(0, 1), create: "0 1",
			service: func(s *corev1.Service) {
				s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
			}},
		{name: "a family that is dropped loses its slice", pods: many(0, 1), existing: made(many(0, 1)), create: "0", remove: "1",
			service: func(s *corev1.Service) { s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol} }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			service := newService()
			if c.service != nil {
				c.service(service)
			}
			got := planSlices(service, c.pods, node, c.existing, now, noHints())
			if size(got.Create) != c.create || size(got.Update) != c.update || size(got.Delete) != c.remove {
				t.Errorf("create %q, update %q, delete %q; want %q, %q, %q", size(got.Create), size(got.Update), size(got.Delete), c.create, c.update, c.remove)
			}
		})
	}
}

func TestAPlanAppliedChangesNothingMore(t *testing.T) {
	t.Parallel()
	pods := append(many(0, 120), many(120, 130, unready)...)
	first := planSlices(newService(), pods, node, nil, now, noHints())
	if again := planSlices(newService(), pods, node, named(first.Create), now, noHints()); len(again.Create)+len(again.Update)+len(again.Delete) != 0 {
		t.Errorf("planned again: %+v", again)
	}
}

func TestAnEndpointsConditions(t *testing.T) {
	t.Parallel()
	publish := newService()
	publish.Spec.PublishNotReadyAddresses = true
	for _, c := range []struct {
		name    string
		pod     *corev1.Pod
		service *corev1.Service
		want    string
	}{
		{"ready", newPod(1), newService(), "true true false"},
		{"not ready", newPod(1, unready), newService(), "false false false"},
		{"ending", newPod(1, deleting), newService(), "false true true"},
		{"not ready but published", newPod(1, unready), publish, "true false false"},
	} {
		e := endpointOf(c.pod, node("n"), c.service, discoveryv1.AddressTypeIPv4)
		if got := fmt.Sprint(*e.Conditions.Ready, *e.Conditions.Serving, *e.Conditions.Terminating); got != c.want {
			t.Errorf("%s: ready, serving, terminating are %s, want %s", c.name, got, c.want)
		}
		if *e.Zone != "z" || *e.NodeName != "n" || e.TargetRef.Name != c.pod.Name {
			t.Errorf("%s: %+v", c.name, e)
		}
	}
}

func TestNamedPortsAreFoundPerPod(t *testing.T) {
	t.Parallel()
	port := corev1.ServicePort{Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString("http")}
	always := corev1.ContainerRestartPolicyAlways
	p := newPod(1)
	if _, ok := targetPort(p, &port); ok {
		t.Error("found a port that is not there")
	}
	p.Spec.InitContainers = []corev1.Container{{RestartPolicy: &always, Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 81, Protocol: corev1.ProtocolTCP}}}}
	if got, _ := targetPort(p, &port); got != 81 {
		t.Errorf("a sidecar's port: got %d", got)
	}
	p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 79, Protocol: corev1.ProtocolUDP}, {Name: "http", ContainerPort: 80, Protocol: corev1.ProtocolTCP}}}}
	if got, _ := targetPort(p, &port); got != 80 {
		t.Errorf("a container's port: got %d", got)
	}
}

func TestSubsets(t *testing.T) {
	t.Parallel()
	service := newService()
	service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{Name: "admin", Port: 81, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(8081)})
	pods := []*corev1.Pod{newPod(2), newPod(1), newPod(3, unready), newPod(4, deleting), newPod(5, done)}
	got := subsets(service, pods)
	if len(got) != 1 || len(got[0].Ports) != 2 || len(got[0].Addresses) != 2 || len(got[0].NotReadyAddresses) != 1 {
		t.Fatalf("got %+v", got)
	}
	if got[0].Addresses[0].IP != "10.244.0.2" || got[0].Ports[0].Name != "admin" {
		t.Errorf("not in order: %+v", got[0])
	}
	present := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Labels: legacyLabels(service)}, Subsets: got}
	if !upToDate(present, subsets(service, []*corev1.Pod{pods[1], pods[2], pods[0]}), service) {
		t.Error("the same pods in another order count as a change")
	}
	if upToDate(present, subsets(service, pods[:1]), service) {
		t.Error("a missing pod does not count as a change")
	}
}

func TestEndpointsAreCutToTheirCapacityReadyOnesFirst(t *testing.T) {
	t.Parallel()
	all := subsets(newService(), append(many(0, 900), many(900, 1200, unready)...))
	if !truncate(all) || count(all) != legacyCapacity || len(all[0].Addresses) != 900 {
		t.Errorf("kept %d of which %d are ready", count(all), len(all[0].Addresses))
	}
	all = subsets(newService(), append(many(0, 1100), many(1100, 1200, unready)...))
	if !truncate(all) || count(all) != legacyCapacity || len(all[0].NotReadyAddresses) != 0 {
		t.Errorf("kept %d of which %d are not ready", count(all), len(all[0].NotReadyAddresses))
	}
	if all = subsets(newService(), many(0, 1000)); truncate(all) {
		t.Error("a thousand were cut")
	}
}

func TestTheTriggerTimeIsThatOfTheOldestChangeNotPublished(t *testing.T) {
	t.Parallel()
	tracked := newTriggers()
	service := newService()
	service.CreationTimestamp = metav1.NewTime(now)
	at := func(n int, seconds int) *corev1.Pod {
		return newPod(n, func(p *corev1.Pod) {
			p.Status.Conditions[0].LastTransitionTime = metav1.NewTime(now.Add(time.Duration(seconds) * time.Second))
		})
	}
	if got := tracked.latest(service, []*corev1.Pod{at(1, 5)}); !got.Equal(now) {
		t.Errorf("first: got %v, want the service's creation", got)
	}
	if got := tracked.latest(service, []*corev1.Pod{at(1, 5)}); !got.IsZero() {
		t.Errorf("no change: got %v", got)
	}
	if got := tracked.latest(service, []*corev1.Pod{at(1, 9), at(2, 7)}); !got.Equal(now.Add(7 * time.Second)) {
		t.Errorf("two changes: got %v, want the older one's", got)
	}
}
