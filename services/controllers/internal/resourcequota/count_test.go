package resourcequota

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto"
)

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// room is a namespace of made-up holdings.
type room struct {
	pods     []*corev1.Pod
	services []*corev1.Service
	claims   []*corev1.PersistentVolumeClaim
	devices  []*resourcev1.ResourceClaim
	classes  []*resourcev1.DeviceClass
	objects  map[string]int64
}

func (r room) Pods() []*corev1.Pod                       { return r.pods }
func (r room) Services() []*corev1.Service               { return r.services }
func (r room) Claims() []*corev1.PersistentVolumeClaim   { return r.claims }
func (r room) DeviceClaims() []*resourcev1.ResourceClaim { return r.devices }
func (r room) Classes() []*resourcev1.DeviceClass        { return r.classes }
func (r room) Objects(gr proto.GroupResource) (int64, bool) {
	n, ok := r.objects[gr.Resource+"."+gr.Group]
	return n, ok
}

// list reads "cpu=1 memory=2Gi".
func list(text string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for _, field := range strings.Fields(text) {
		name, amount, _ := strings.Cut(field, "=")
		out[corev1.ResourceName(name)] = resource.MustParse(amount)
	}
	return out
}

func text(l corev1.ResourceList) string {
	var out []string
	for name, amount := range l {
		out = append(out, fmt.Sprintf("%s=%s", name, amount.String()))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

type podOption func(*corev1.Pod)

func newPod(requests, limits string, options ...podOption) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "p-1"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: "c", Resources: corev1.ResourceRequirements{Requests: list(requests), Limits: list(limits)},
	}}}}
	for _, option := range options {
		option(p)
	}
	return p
}

func phase(phase corev1.PodPhase) podOption { return func(p *corev1.Pod) { p.Status.Phase = phase } }
func deadline(p *corev1.Pod)                { p.Spec.ActiveDeadlineSeconds = new(int64) }
func priority(class string) podOption {
	return func(p *corev1.Pod) { p.Spec.PriorityClassName = class }
}
func deleted(ago time.Duration, grace int64) podOption {
	return func(p *corev1.Pod) {
		at := metav1.NewTime(noon.Add(-ago))
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &at, &grace
	}
}
func besideOthers(p *corev1.Pod) {
	p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{PodAffinityTerm: corev1.PodAffinityTerm{Namespaces: []string{"other"}}}},
	}}
}

func service(kind corev1.ServiceType, ports int, allocate *bool) *corev1.Service {
	s := &corev1.Service{Spec: corev1.ServiceSpec{Type: kind, AllocateLoadBalancerNodePorts: allocate}}
	for i := range ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Port: int32(i + 1)})
	}
	return s
}

func claim(asked, allocated, class, attributes string) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{Resources: corev1.VolumeResourceRequirements{Requests: list("storage=" + asked)}}}
	if allocated != "" {
		c.Status.AllocatedResources = list("storage=" + allocated)
	}
	if class != "" {
		c.Spec.StorageClassName = &class
	}
	if attributes != "" {
		c.Status.CurrentVolumeAttributesClassName = &attributes
	}
	return c
}

func TestWhatAQuotaCounts(t *testing.T) {
	t.Parallel()
	no := false
	for _, c := range []struct {
		name     string
		hard     string // every name gets the limit 100
		scopes   []corev1.ResourceQuotaScope
		selector []scope
		in       room
		want     string
	}{
		{name: "an empty namespace uses nothing of all that is limited", hard: "pods cpu services persistentvolumeclaims", want: "cpu=0 persistentvolumeclaims=0 pods=0 services=0"},
		{
			name: "a pod counts by its requests and limits under all their names", hard: "pods count/pods cpu requests.cpu limits.cpu memory requests.memory limits.memory ephemeral-storage limits.ephemeral-storage",
			in:   room{pods: []*corev1.Pod{newPod("cpu=500m memory=1Gi ephemeral-storage=1Gi", "cpu=1 memory=2Gi"), newPod("cpu=250m", "")}},
			want: "count/pods=2 cpu=750m ephemeral-storage=1Gi limits.cpu=1 limits.ephemeral-storage=0 limits.memory=2Gi memory=1Gi pods=2 requests.cpu=750m requests.memory=1Gi",
		},
		{
			name: "extended resources and huge pages count by name", hard: "requests.example.com/gpu requests.hugepages-2Mi hugepages-2Mi",
			in:   room{pods: []*corev1.Pod{newPod("example.com/gpu=2 hugepages-2Mi=4Mi", "example.com/gpu=2")}},
			want: "hugepages-2Mi=4Mi requests.example.com/gpu=2 requests.hugepages-2Mi=4Mi",
		},
		{
			name: "a pod that has ended counts as an object only", hard: "pods count/pods cpu",
			in:   room{pods: []*corev1.Pod{newPod("cpu=1", "", phase(corev1.PodSucceeded)), newPod("cpu=1", "", phase(corev1.PodFailed)), newPod("cpu=1", "", phase(corev1.PodRunning))}},
			want: "count/pods=3 cpu=1 pods=1",
		},
		{
			name: "a pod being deleted counts until its grace period is over", hard: "pods cpu",
			in:   room{pods: []*corev1.Pod{newPod("cpu=1", "", deleted(10*time.Second, 30)), newPod("cpu=1", "", deleted(time.Minute, 30))}},
			want: "cpu=1 pods=1",
		},
		{
			name: "scope Terminating has the pods with a deadline", hard: "pods cpu", scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeTerminating},
			in: room{pods: []*corev1.Pod{newPod("cpu=1", "", deadline), newPod("cpu=2", "")}}, want: "cpu=1 pods=1",
		},
		{
			name: "scope NotTerminating has the others", hard: "pods cpu", scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeNotTerminating},
			in: room{pods: []*corev1.Pod{newPod("cpu=1", "", deadline), newPod("cpu=2", "")}}, want: "cpu=2 pods=1",
		},
		{
			name: "scope BestEffort has the pods that ask for nothing", hard: "pods", scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort},
			in: room{pods: []*corev1.Pod{newPod("cpu=1", ""), newPod("", ""), newPod("", "memory=1Gi"), newPod("example.com/gpu=1", "")}}, want: "pods=2",
		},
		{
			name: "all scopes must hold", hard: "pods", scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopeTerminating},
			in: room{pods: []*corev1.Pod{newPod("cpu=1", ""), newPod("", "", deadline), newPod("cpu=1", "", deadline)}}, want: "pods=1",
		},
		{
			name: "priority classes are selected by name", hard: "pods", selector: []scope{{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpIn, Values: []string{"high", "higher"}}},
			in: room{pods: []*corev1.Pod{newPod("", "", priority("high")), newPod("", "", priority("low")), newPod("", "")}}, want: "pods=1",
		},
		{
			name: "NotIn has those without a class too", hard: "pods", selector: []scope{{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpNotIn, Values: []string{"high"}}},
			in: room{pods: []*corev1.Pod{newPod("", "", priority("high")), newPod("", "", priority("low")), newPod("", "")}}, want: "pods=2",
		},
		{
			name: "DoesNotExist has those without a class", hard: "pods", selector: []scope{{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpDoesNotExist}},
			in: room{pods: []*corev1.Pod{newPod("", "", priority("low")), newPod("", "")}}, want: "pods=1",
		},
		{
			name: "an operator that nobody knows selects nothing", hard: "pods", selector: []scope{{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: "Like", Values: []string{"x"}}},
			in: room{pods: []*corev1.Pod{newPod("", "")}}, want: "pods=0",
		},
		{
			name: "scope CrossNamespacePodAffinity has the pods that look into other namespaces", hard: "pods", scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeCrossNamespacePodAffinity},
			in: room{pods: []*corev1.Pod{newPod("", "", besideOthers), newPod("", "")}}, want: "pods=1",
		},
		{
			name: "Services count by type and by the ports that they ask for", hard: "services count/services services.nodeports services.loadbalancers",
			in: room{services: []*corev1.Service{
				service(corev1.ServiceTypeClusterIP, 3, nil), service(corev1.ServiceTypeNodePort, 2, nil), service(corev1.ServiceTypeLoadBalancer, 4, nil), service(corev1.ServiceTypeLoadBalancer, 5, &no),
			}},
			want: "count/services=4 services.loadbalancers=2 services.nodeports=6 services=4",
		},
		{
			name: "claims count by number, storage and class", hard: "persistentvolumeclaims count/persistentvolumeclaims requests.storage gold.storageclass.storage.k8s.io/requests.storage gold.storageclass.storage.k8s.io/persistentvolumeclaims",
			in:   room{claims: []*corev1.PersistentVolumeClaim{claim("1Gi", "", "gold", ""), claim("2Gi", "", "iron", ""), claim("1Gi", "4Gi", "", "")}},
			want: "count/persistentvolumeclaims=3 gold.storageclass.storage.k8s.io/persistentvolumeclaims=1 gold.storageclass.storage.k8s.io/requests.storage=1Gi persistentvolumeclaims=3 requests.storage=7Gi",
		},
		{name: "storage is counted in whole bytes", hard: "requests.storage", in: room{claims: []*corev1.PersistentVolumeClaim{claim("1500m", "", "", "")}}, want: "requests.storage=2"},
		{
			name: "claims are selected by the attributes they have or want", hard: "persistentvolumeclaims",
			selector: []scope{{ScopeName: corev1.ResourceQuotaScopeVolumeAttributesClass, Operator: corev1.ScopeSelectorOpIn, Values: []string{"fast"}}},
			in:       room{claims: []*corev1.PersistentVolumeClaim{claim("1Gi", "", "", "fast"), claim("1Gi", "", "", "slow"), claim("1Gi", "", "", "")}}, want: "persistentvolumeclaims=1",
		},
		{
			name: "objects of any kind are counted, by old names too", hard: "configmaps count/configmaps count/deployments.apps count/widgets.example.com",
			in:   room{objects: map[string]int64{"configmaps.": 3, "deployments.apps": 2, "widgets.example.com": 7}},
			want: "configmaps=3 count/configmaps=3 count/deployments.apps=2 count/widgets.example.com=7",
		},
		{name: "of a kind that is not served nothing is said", hard: "pods count/widgets.example.com", want: "pods=0"},
		{name: "of events nothing is said", hard: "pods count/events", in: room{objects: map[string]int64{"events.": 3}}, want: "pods=0"},
		{
			name: "scopes know no mere objects", hard: "count/secrets secrets", scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort},
			in: room{objects: map[string]int64{"secrets.": 4}}, want: "count/secrets=0 secrets=0",
		},
		{name: "of a name that nobody knows nothing is said", hard: "bananas", want: ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			quota := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Scopes: c.scopes, Hard: corev1.ResourceList{}}}
			for _, name := range strings.Fields(c.hard) {
				quota.Spec.Hard[corev1.ResourceName(name)] = resource.MustParse("100")
			}
			if c.selector != nil {
				quota.Spec.ScopeSelector = &corev1.ScopeSelector{MatchExpressions: c.selector}
			}
			status, _, err := count(quota, c.in, noon)
			if err != nil {
				t.Fatal(err)
			}
			if got := text(status.Used); got != c.want {
				t.Errorf("used\ngot  %s\nwant %s", got, c.want)
			}
			if !equal(status.Hard, quota.Spec.Hard) {
				t.Errorf("hard: got %s, want %s", text(status.Hard), text(quota.Spec.Hard))
			}
		})
	}
}

func deviceRequest(class string, count int64) resourcev1.DeviceRequest {
	return resourcev1.DeviceRequest{Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: class, AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: count}}
}

func TestDevicesCountUnderAllNamesOfTheirClass(t *testing.T) {
	t.Parallel()
	gpu := "example.com/gpu"
	classes := []*resourcev1.DeviceClass{{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}, Spec: resourcev1.DeviceClassSpec{ExtendedResourceName: &gpu}}, {ObjectMeta: metav1.ObjectMeta{Name: "nic"}}}
	all := resourcev1.DeviceRequest{Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "nic", AllocationMode: resourcev1.DeviceAllocationModeAll}}
	either := resourcev1.DeviceRequest{FirstAvailable: []resourcev1.DeviceSubRequest{
		{DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 4},
		{DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 2},
		{DeviceClassName: "nic", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 1},
	}}
	wanting := func(requests ...resourcev1.DeviceRequest) *resourcev1.ResourceClaim {
		return &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: requests}}}
	}
	forPod := wanting(deviceRequest("gpu", 3))
	yes := true
	forPod.Annotations = map[string]string{resourcev1.ExtendedResourceClaimAnnotation: "true"}
	forPod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "p-1", Controller: &yes}}
	hard := "count/resourceclaims.resource.k8s.io gpu.deviceclass.resource.k8s.io/devices nic.deviceclass.resource.k8s.io/devices requests.example.com/gpu requests.deviceclass.resource.kubernetes.io/gpu"
	for _, c := range []struct {
		name string
		in   room
		want string
	}{
		{"a claim counts its devices by class and by the class's extended resources", room{devices: []*resourcev1.ResourceClaim{wanting(deviceRequest("gpu", 2), deviceRequest("gpu", 1))}},
			"count/resourceclaims.resource.k8s.io=1 gpu.deviceclass.resource.k8s.io/devices=3 nic.deviceclass.resource.k8s.io/devices=0 requests.deviceclass.resource.kubernetes.io/gpu=3 requests.example.com/gpu=3"},
		{"all devices are the most that a claim may have", room{devices: []*resourcev1.ResourceClaim{wanting(all)}},
			"count/resourceclaims.resource.k8s.io=1 gpu.deviceclass.resource.k8s.io/devices=0 nic.deviceclass.resource.k8s.io/devices=32 requests.deviceclass.resource.kubernetes.io/gpu=0 requests.example.com/gpu=0"},
		{"of alternatives the largest counts, for each class", room{devices: []*resourcev1.ResourceClaim{wanting(either)}},
			"count/resourceclaims.resource.k8s.io=1 gpu.deviceclass.resource.k8s.io/devices=4 nic.deviceclass.resource.k8s.io/devices=1 requests.deviceclass.resource.kubernetes.io/gpu=4 requests.example.com/gpu=4"},
		{"what the pod is charged for is not charged to its claim again", room{devices: []*resourcev1.ResourceClaim{forPod}, pods: []*corev1.Pod{newPod("example.com/gpu=2", "")}},
			"count/resourceclaims.resource.k8s.io=1 gpu.deviceclass.resource.k8s.io/devices=3 nic.deviceclass.resource.k8s.io/devices=0 requests.deviceclass.resource.kubernetes.io/gpu=3 requests.example.com/gpu=3"},
		{"a claim for another pod of the name is charged itself", room{devices: []*resourcev1.ResourceClaim{forPod}, pods: []*corev1.Pod{newPod("example.com/gpu=2", "", func(p *corev1.Pod) { p.UID = types.UID("p-2") })}},
			"count/resourceclaims.resource.k8s.io=1 gpu.deviceclass.resource.k8s.io/devices=3 nic.deviceclass.resource.k8s.io/devices=0 requests.deviceclass.resource.kubernetes.io/gpu=3 requests.example.com/gpu=5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			quota := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{}}}
			for _, name := range strings.Fields(hard) {
				quota.Spec.Hard[corev1.ResourceName(name)] = resource.MustParse("100")
			}
			c.in.classes = classes
			status, _, err := count(quota, c.in, noon)
			if got := text(status.Used); got != c.want || err != nil {
				t.Errorf("used\ngot  %s (%v)\nwant %s", got, err, c.want)
			}
		})
	}
}

func TestAQuotaIsLookedAtAgainWhenAGracePeriodEnds(t *testing.T) {
	t.Parallel()
	in := room{pods: []*corev1.Pod{newPod("", "", deleted(0, 60)), newPod("", "", deleted(10*time.Second, 30)), newPod("", "", deleted(time.Hour, 30))}}
	for hard, want := range map[string]time.Duration{"pods=1": 20*time.Second + time.Millisecond, "services=1": 0} {
		quota := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: list(hard)}}
		if _, again, _ := count(quota, in, noon); again != want {
			t.Errorf("limiting %s: again in %v, want %v", hard, again, want)
		}
	}
}

func TestWhatNobodyCountsKeepsItsOldValueWhileItIsLimited(t *testing.T) {
	t.Parallel()
	quota := &corev1.ResourceQuota{
		Spec:   corev1.ResourceQuotaSpec{Hard: list("pods=5 bananas=9")},
		Status: corev1.ResourceQuotaStatus{Hard: list("pods=5 bananas=9 services=3"), Used: list("pods=4 bananas=2 services=1")},
	}
	status, _, _ := count(quota, room{}, noon)
	if got, want := text(status.Used), "bananas=2 pods=0"; got != want {
		t.Errorf("used: got %s, want %s", got, want)
	}
}
