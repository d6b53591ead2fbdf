package node

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"kubus.dev/services/agent/internal/eviction"
	"kubus.dev/services/agent/internal/runtime"
)

const gib = 1 << 30

func settings() Settings {
	thresholds, err := eviction.Settings{Hard: eviction.DefaultHard(), Soft: map[string]string{"memory.available": "2Gi"}, SoftGrace: map[string]string{"memory.available": "1m"}}.Thresholds()
	if err != nil {
		panic("the default thresholds are no thresholds: " + err.Error())
	}
	return Settings{Name: "n", IPs: []string{"10.0.0.1"}, MaxPods: 110, Evictions: thresholds}
}

func machine() Machine { return Machine{CPUs: 2, MemoryBytes: 4 * gib, DiskBytes: 100 * gib} }

func TestAllocatableIsCapacityWithoutWhatIsReservedAndWithoutTheEvictionThresholds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		reserved corev1.ResourceList
		resource corev1.ResourceName
		want     string
	}{
		{"every CPU is for pods", nil, corev1.ResourceCPU, "2"},
		{"a reserved CPU is not", corev1.ResourceList{"cpu": resource.MustParse("500m")}, corev1.ResourceCPU, "1500m"},
		{"more than there is leaves none", corev1.ResourceList{"cpu": resource.MustParse("3")}, corev1.ResourceCPU, "0"},
		{"100 MiB of memory stay free, whatever a soft threshold says", nil, corev1.ResourceMemory, "3996Mi"},
		{"beside what is reserved", corev1.ResourceList{"memory": resource.MustParse("1Gi")}, corev1.ResourceMemory, "2972Mi"},
		{"memory never falls below nothing", corev1.ResourceList{"memory": resource.MustParse("4Gi")}, corev1.ResourceMemory, "0"},
		{"a tenth of the disk stays free", nil, corev1.ResourceEphemeralStorage, "90Gi"},
		{"the number of pods is the operator's", nil, corev1.ResourcePods, "110"},
		{"what the machine has not cannot be reserved", corev1.ResourceList{"example.com/gpu": resource.MustParse("1")}, "example.com/gpu", "0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := settings()
			s.Reserved = tt.reserved
			got := Build(s, machine(), State{}, nil, time.Now()).Status.Allocatable[tt.resource]
			if got.Cmp(resource.MustParse(tt.want)) != 0 {
				t.Errorf("allocatable %s of a machine with %+v, reserved %v: got %s, want %s", tt.resource, machine(), tt.reserved, got.String(), tt.want)
			}
		})
	}
}

func TestHugePagesAreNoOtherMemory(t *testing.T) {
	t.Parallel()
	m := machine()
	m.HugePages = map[int64]int64{2 << 20: 512, 1 << 30: 0}
	n := Build(settings(), m, State{}, nil, time.Now())
	for name, want := range map[corev1.ResourceName][2]string{"hugepages-2Mi": {"1Gi", "1Gi"}, "hugepages-1Gi": {"0", "0"}, "memory": {"4Gi", "2972Mi"}} {
		capacity, allocatable := n.Status.Capacity[name], n.Status.Allocatable[name]
		if capacity.Cmp(resource.MustParse(want[0])) != 0 || allocatable.Cmp(resource.MustParse(want[1])) != 0 {
			t.Errorf("%s: %s, of which %s for pods; want %v", name, capacity.String(), allocatable.String(), want)
		}
	}
}

func TestRuntimeHandlersSayWhatEachCan(t *testing.T) {
	t.Parallel()
	s := settings()
	s.Handlers = []runtime.Handler{{Name: "", RecursiveReadOnly: true}, {Name: "crun"}}
	got := Build(s, machine(), State{}, nil, time.Now()).Status.RuntimeHandlers
	if len(got) != 2 || got[0].Name != "" || !*got[0].Features.RecursiveReadOnlyMounts || got[1].Name != "crun" || *got[1].Features.RecursiveReadOnlyMounts {
		t.Errorf("got %+v of %+v", got, s.Handlers)
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name            string
		state           State
		condition       corev1.NodeConditionType
		status          corev1.ConditionStatus
		reason, message string
	}{
		{"a node with a network is ready", State{}, corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status"},
		{"one without says why it is not", State{NetworkReady: "no CIDR"}, corev1.NodeReady, corev1.ConditionFalse, "KubeletNotReady", "container runtime network not ready: no CIDR"},
		{"one that shuts down", State{ShuttingDown: true}, corev1.NodeReady, corev1.ConditionFalse, "KubeletNotReady", "node is shutting down"},
		{"and has no network", State{NetworkReady: "no CIDR", ShuttingDown: true}, corev1.NodeReady, corev1.ConditionFalse, "KubeletNotReady", "[container runtime network not ready: no CIDR, node is shutting down]"},
		{"enough memory", State{}, corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"},
		{"too little memory", State{Pressure: Pressure{Memory: true}}, corev1.NodeMemoryPressure, corev1.ConditionTrue, "KubeletHasInsufficientMemory", "kubelet has insufficient memory available"},
		{"too little disk", State{Pressure: Pressure{Disk: true}}, corev1.NodeDiskPressure, corev1.ConditionTrue, "KubeletHasDiskPressure", "kubelet has disk pressure"},
		{"too few process ids", State{Pressure: Pressure{PIDs: true}}, corev1.NodePIDPressure, corev1.ConditionTrue, "KubeletHasInsufficientPID", "kubelet has insufficient PID available"},
		{"pressure alone does not make a node unready", State{Pressure: Pressure{Memory: true}}, corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := condition(Build(settings(), machine(), tt.state, nil, time.Now()), tt.condition)
			if c.Status != tt.status || c.Reason != tt.reason || c.Message != tt.message {
				t.Errorf("%+v gives %s, %s, %q; want %s, %s, %q", tt.state, c.Status, c.Reason, c.Message, tt.status, tt.reason, tt.message)
			}
		})
	}
}

func condition(n *corev1.Node, want corev1.NodeConditionType) corev1.NodeCondition {
	for _, c := range n.Status.Conditions {
		if c.Type == want {
			return c
		}
	}
	return corev1.NodeCondition{}
}

func TestAConditionKeepsItsTransitionTimeWhileItStaysTheSame(t *testing.T) {
	t.Parallel()
	first := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	before := Build(settings(), machine(), State{}, nil, first)
	after := Build(settings(), machine(), State{Pressure: Pressure{Disk: true}}, before, first.Add(time.Hour))
	if got := condition(after, corev1.NodeReady).LastTransitionTime; !got.Time.Equal(first) {
		t.Errorf("Ready stayed true, but its transition is %s, want %s", got, first)
	}
	if got := condition(after, corev1.NodeDiskPressure).LastTransitionTime; !got.Time.Equal(first.Add(time.Hour)) {
		t.Errorf("DiskPressure came an hour later, but its transition is %s", got)
	}
	if same(before, after) {
		t.Error("a node under pressure counts as the same")
	}
	if !same(before, Build(settings(), machine(), State{}, before, first.Add(time.Hour))) {
		t.Error("a node that differs in heartbeat times only counts as changed")
	}
}

func TestTheLargestFiftyImagesAreShownByFiveNamesAtMost(t *testing.T) {
	t.Parallel()
	var list []runtime.Image
	for i := range 60 {
		list = append(list, runtime.Image{Size: int64(i), RepoTags: []string{fmt.Sprint("image:", i)}})
	}
	list = append(list, runtime.Image{Size: 1000}, // without a name: not shown
		runtime.Image{Size: 999, RepoDigests: []string{"x@1", "x@2"}, RepoTags: []string{"a", "b", "c", "d"}})
	got := Build(settings(), machine(), State{Images: list}, nil, time.Now()).Status.Images
	if len(got) != maxImages || got[0].SizeBytes != 999 || got[1].SizeBytes != 59 {
		t.Errorf("%d images, the first %v", len(got), got[:2])
	}
	if want := []string{"x@1", "x@2", "a", "b", "c"}; !slices.Equal(got[0].Names, want) {
		t.Errorf("names %v, want %v", got[0].Names, want)
	}
}

func TestTheOperatorsLabelsJoinThoseOfTheMachine(t *testing.T) {
	t.Parallel()
	s := settings()
	s.Labels = map[string]string{"disk": "ssd", corev1.LabelHostname: "other"}
	n := Build(s, machine(), State{}, nil, time.Now())
	for key, want := range map[string]string{"disk": "ssd", corev1.LabelHostname: "other", corev1.LabelOSStable: "linux"} {
		if got := n.Labels[key]; got != want {
			t.Errorf("label %s is %q, want %q", key, got, want)
		}
	}
}
