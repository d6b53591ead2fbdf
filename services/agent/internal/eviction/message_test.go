package eviction

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func thresholdOf(t *testing.T, signal, value string) *Threshold {
	t.Helper()
	list, err := Settings{Hard: map[string]string{signal: value}}.Thresholds()
	if err != nil {
		t.Fatal(err)
	}
	return &list[0]
}

func TestMessagesAreKubelets(t *testing.T) {
	t.Parallel()
	small, whole := aPod("p", 0, "1Mi"), aPod("p", 0, "4Mi")
	whole.Spec.Resources = &corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Mi")}}
	usage := &Usage{Pod: Use{corev1.ResourceMemory: 3 << 20}, Containers: []ContainerUse{{"c", Use{corev1.ResourceMemory: 3 << 20, corev1.ResourceEphemeralStorage: 8 << 10}}, {"unknown", nil}}}
	for name, c := range map[string]struct {
		threshold *Threshold
		seen      Observations
		pod       *corev1.Pod
		usage     *Usage
		want      string
	}{
		"memory": {thresholdOf(t, "memory.available", "100Mi"), Observations{MemoryAvailable: {1 << 30, 96 << 20}}, small, usage,
			"The node was low on resource: memory. Threshold quantity: 100Mi, available: 96Mi. Container c was using 3Mi, request is 1Mi, has larger consumption of memory. "},
		"memory of a whole pod": {thresholdOf(t, "memory.available", "100Mi"), Observations{MemoryAvailable: {1 << 30, 96 << 20}}, whole, usage,
			"The node was low on resource: memory. Threshold quantity: 100Mi, available: 96Mi. Pod p was using 3Mi, request is 1Mi, has larger consumption of memory. "},
		"disk": {thresholdOf(t, "nodefs.available", "10%"), Observations{NodeFsAvailable: {10 << 30, 1 << 20}}, small, usage,
			"The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi, available: 1Mi. Container c was using 8Ki, request is 0, has larger consumption of ephemeral-storage. "},
		"inodes": {thresholdOf(t, "nodefs.inodesFree", "5%"), Observations{NodeFsInodesFree: {1000, 12}}, small, usage,
			"The node was low on resource: inodes. Threshold quantity: 50, available: 12. "},
		"a pod that was not measured": {thresholdOf(t, "memory.available", "100Mi"), Observations{MemoryAvailable: {1 << 30, 96 << 20}}, small, nil,
			"The node was low on resource: memory. Threshold quantity: 100Mi, available: 96Mi. "},
	} {
		if got := Message(c.threshold, c.seen, c.pod, c.usage); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", name, got, c.want)
		}
	}
}

func TestAdmit(t *testing.T) {
	t.Parallel()
	memory, disk := []corev1.NodeConditionType{corev1.NodeMemoryPressure}, []corev1.NodeConditionType{corev1.NodeDiskPressure}
	plain, tolerant, critical := aPod("p", 0, ""), aPod("p", 0, ""), aPod("p", systemCritical, "")
	tolerant.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}
	const refused = "The node had condition: [MemoryPressure]. "
	for name, c := range map[string]struct {
		pod        *corev1.Pod
		conditions []corev1.NodeConditionType
		bestEffort bool
		want       string
	}{
		"a node in good health takes all":             {plain, nil, true, ""},
		"little memory is not for those who ask none": {plain, memory, true, refused},
		"those who ask for some get it":               {plain, memory, false, ""},
		"those who bear it too":                       {tolerant, memory, true, ""},
		"a short disk takes nobody":                   {tolerant, disk, false, "The node had condition: [DiskPressure]. "},
		"but what the cluster depends on":             {critical, disk, true, ""},
		"both are told":                               {plain, append(disk, memory...), false, "The node had condition: [DiskPressure MemoryPressure]. "},
	} {
		if got := Admit(c.pod, c.conditions, c.bestEffort); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestGrace(t *testing.T) {
	t.Parallel()
	hard, soft := &Threshold{}, &Threshold{Grace: 1}
	long := aPod("p", 0, "")
	seconds := int64(30)
	long.Spec.TerminationGracePeriodSeconds = &seconds
	for name, got := range map[string][2]int64{
		"a hard threshold waits a second":      {Grace(hard, long, 100), 1},
		"a soft one as long as the pod wants":  {Grace(soft, long, 100), 30},
		"but no longer than the operator does": {Grace(soft, long, 10), 10},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: got %d, want %d", name, got[0], got[1])
		}
	}
}
