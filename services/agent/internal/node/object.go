package node

import (
	"errors"
	"maps"
	goruntime "runtime"
	"slices"
	"sort"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/component-helpers/nodedeclaredfeatures/features/inplacepodresize"
	"k8s.io/component-helpers/nodedeclaredfeatures/features/restartallcontainers"

	"kubus.dev/services/agent/internal/eviction"
	"kubus.dev/services/agent/internal/hugepage"
	"kubus.dev/services/agent/internal/runtime"
)

// Settings are the operator's choices for the node.
type Settings struct {
	Name      string
	IPs       []string // primary first
	Labels    map[string]string
	MaxPods   int
	Reserved  corev1.ResourceList  // kept from pods
	Evictions []eviction.Threshold // what hard ones keep free is not for pods
	Version   string               // shown as kubelet's
	Runtime   string               // for instance "kubus+runc://1.5.2"
	Handlers  []runtime.Handler    // what a RuntimeClass may name
}

// maxImages is how many images a node shows, as kubelet's default.
const maxImages = 50

// declared is what the API lets pods of the node ask for, because the node can do it. Sorted.
var declared = []string{
	inplacepodresize.PodLevelResourcesResizeFeature.Name(), inplacepodresize.NonSidecarInitContainerResizeFeature.Name(),
	restartallcontainers.RestartAllContainersOnContainerExits,
}

// State is what changes about a node.
type State struct {
	NetworkReady string // "" is ready, else why not
	Pressure     Pressure
	ShuttingDown bool
	Images       []runtime.Image
	// Devices are the resources of device plugins: what there is, and how much of it is healthy.
	Devices, HealthyDevices corev1.ResourceList
}

// Build writes the node's object. previous is the last one built, nil for the
// first; conditions keep their transition times while they stay the same.
func Build(s Settings, m Machine, st State, previous *corev1.Node, now time.Time) *corev1.Node {
	n := &corev1.Node{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: s.Name, Labels: labels(s)},
	}
	capacity := corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(int64(m.CPUs), resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(m.MemoryBytes, resource.BinarySI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(m.DiskBytes, resource.BinarySI),
		corev1.ResourcePods:             *resource.NewQuantity(int64(s.MaxPods), resource.DecimalSI),
	}
	paged := corev1.ResourceList{}
	for size, pages := range m.HugePages {
		capacity[hugepage.Resource(size)] = *resource.NewQuantity(size*pages, resource.BinarySI)
		total := paged[corev1.ResourceMemory]
		total.Add(*resource.NewQuantity(size*pages, resource.BinarySI))
		paged[corev1.ResourceMemory] = total
	}
	n.Status.Capacity = capacity
	n.Status.Allocatable = allocatable(capacity, s.Reserved, s.Evictions)
	subtract(n.Status.Allocatable, paged) // what is set aside for huge pages is no other memory
	maps.Copy(n.Status.Capacity, st.Devices)
	maps.Copy(n.Status.Allocatable, st.HealthyDevices)
	for _, ip := range s.IPs {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: s.Name})
	n.Status.NodeInfo = corev1.NodeSystemInfo{
		MachineID: m.MachineID, SystemUUID: m.MachineID, BootID: m.BootID,
		KernelVersion: m.Kernel, OSImage: m.OSImage, OperatingSystem: "linux", Architecture: goruntime.GOARCH,
		ContainerRuntimeVersion: s.Runtime, KubeletVersion: s.Version,
	}
	if m.Swap > 0 {
		n.Status.NodeInfo.Swap = &corev1.NodeSwapStatus{Capacity: &m.Swap}
	}
	n.Status.Conditions = conditions(st, previous, now)
	n.Status.Images = images(st.Images)
	n.Status.RuntimeHandlers = handlers(s.Handlers)
	supplemental := true
	n.Status.Features = &corev1.NodeFeatures{SupplementalGroupsPolicy: &supplemental}
	n.Status.DeclaredFeatures = slices.Clone(declared)
	return n
}

// handlers shows what each can; none can user namespaces, which the agent does not make.
func handlers(list []runtime.Handler) (out []corev1.NodeRuntimeHandler) {
	for _, h := range list {
		recursive, users := h.RecursiveReadOnly, false
		out = append(out, corev1.NodeRuntimeHandler{Name: h.Name,
			Features: &corev1.NodeRuntimeHandlerFeatures{RecursiveReadOnlyMounts: &recursive, UserNamespaces: &users}})
	}
	return out
}

func labels(s Settings) map[string]string {
	out := map[string]string{
		corev1.LabelHostname:      s.Name,
		corev1.LabelOSStable:      "linux",
		corev1.LabelArchStable:    goruntime.GOARCH,
		"beta.kubernetes.io/os":   "linux",
		"beta.kubernetes.io/arch": goruntime.GOARCH,
	}
	for k, v := range s.Labels {
		out[k] = v
	}
	return out
}

// allocatable is what is left for pods: not what is reserved, and not what hard eviction
// thresholds keep free.
func allocatable(capacity, reserved corev1.ResourceList, evictions []eviction.Threshold) corev1.ResourceList {
	out := capacity.DeepCopy()
	subtract(out, reserved)
	for i := range evictions {
		if t := &evictions[i]; t.Hard() {
			whole := capacity[t.Resource()]
			subtract(out, corev1.ResourceList{t.Resource(): *t.Value.Of(whole.Value())})
		}
	}
	return out
}

// subtract takes less from what is there, down to nothing.
func subtract(from, less corev1.ResourceList) {
	for name, q := range less {
		have, ok := from[name]
		if !ok {
			continue
		}
		have.Sub(q)
		if have.Sign() < 0 {
			have = *resource.NewQuantity(0, have.Format)
		}
		from[name] = have
	}
}

func conditions(st State, previous *corev1.Node, now time.Time) []corev1.NodeCondition {
	out := []corev1.NodeCondition{
		pressure(corev1.NodeMemoryPressure, st.Pressure.Memory, "KubeletHasInsufficientMemory", "kubelet has insufficient memory available", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
		pressure(corev1.NodeDiskPressure, st.Pressure.Disk, "KubeletHasDiskPressure", "kubelet has disk pressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
		pressure(corev1.NodePIDPressure, st.Pressure.PIDs, "KubeletHasInsufficientPID", "kubelet has insufficient PID available", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
		{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status"},
	}
	var unready []error
	if st.NetworkReady != "" {
		unready = append(unready, errors.New("container runtime network not ready: "+st.NetworkReady))
	}
	if st.ShuttingDown {
		unready = append(unready, errors.New("node is shutting down"))
	}
	if len(unready) > 0 {
		out[3].Status, out[3].Reason, out[3].Message = corev1.ConditionFalse, "KubeletNotReady", utilerrors.NewAggregate(unready).Error()
	}
	stamp := metav1.NewTime(now).Rfc3339Copy()
	for i := range out {
		out[i].LastHeartbeatTime, out[i].LastTransitionTime = stamp, stamp
		if previous == nil {
			continue
		}
		j := slices.IndexFunc(previous.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == out[i].Type })
		if j >= 0 && previous.Status.Conditions[j].Status == out[i].Status {
			out[i].LastTransitionTime = previous.Status.Conditions[j].LastTransitionTime
		}
	}
	return out
}

func pressure(t corev1.NodeConditionType, on bool, badReason, bad, goodReason, good string) corev1.NodeCondition {
	if on {
		return corev1.NodeCondition{Type: t, Status: corev1.ConditionTrue, Reason: badReason, Message: bad}
	}
	return corev1.NodeCondition{Type: t, Status: corev1.ConditionFalse, Reason: goodReason, Message: good}
}

func images(list []runtime.Image) []corev1.ContainerImage {
	list = slices.Clone(list)
	sort.SliceStable(list, func(i, j int) bool { return list[i].Size > list[j].Size })
	out := make([]corev1.ContainerImage, 0, min(len(list), maxImages))
	for _, im := range list {
		if len(out) == maxImages {
			break
		}
		names := slices.Concat(im.RepoDigests, im.RepoTags)
		if len(names) == 0 {
			continue
		}
		if len(names) > 5 {
			names = names[:5]
		}
		out = append(out, corev1.ContainerImage{Names: names, SizeBytes: im.Size})
	}
	return out
}

// same tells whether two objects differ in nothing but heartbeat times.
func same(a, b *corev1.Node) bool {
	if a == nil || b == nil {
		return a == b
	}
	a, b = a.DeepCopy(), b.DeepCopy()
	for _, n := range []*corev1.Node{a, b} {
		for i := range n.Status.Conditions {
			n.Status.Conditions[i].LastHeartbeatTime = metav1.Time{}
		}
	}
	return equality.Semantic.DeepEqual(a, b)
}
