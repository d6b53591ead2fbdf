package static

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// World is what the source knows. Pods are by namespace and name.
type World struct {
	Wanted  map[string]*corev1.Pod // of the files
	Here    map[string]Pod         // on the node
	Mirrors map[string]*corev1.Pod // in the API
	Known   bool                   // Mirrors are all that there are
}

// Pod is a static pod on the node.
type Pod struct {
	*corev1.Pod
	Ending bool
}

// Plan says what to do now, each in the order of names.
type Plan struct {
	Start, End []*corev1.Pod // on the node
	Show       []*corev1.Pod // make mirrors of these
	Hide       []*corev1.Pod // delete these mirrors
}

// Decide is pure and may be asked at any time. A pod whose file has changed ends before its
// successor starts, and a mirror stays as long as its pod.
func Decide(w World) (p Plan) {
	for _, name := range slices.Sorted(maps.Keys(w.Wanted)) {
		if _, occupied := w.Here[name]; !occupied {
			p.Start = append(p.Start, w.Wanted[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.Here)) {
		here, wanted := w.Here[name], w.Wanted[name]
		if !here.Ending && (wanted == nil || wanted.UID != here.UID) {
			p.End = append(p.End, here.Pod)
		}
	}
	if !w.Known {
		return p
	}
	for _, name := range slices.Sorted(maps.Keys(w.Mirrors)) {
		m := w.Mirrors[name]
		here, ok := w.Here[name]
		if !ok && w.Wanted[name] != nil {
			continue // it is about to start
		}
		if !ok || m.DeletionTimestamp != nil || hash(m) != here.UID {
			p.Hide = append(p.Hide, m)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.Here)) {
		if here := w.Here[name]; w.Mirrors[name] == nil && !here.Ending {
			p.Show = append(p.Show, here.Pod)
		}
	}
	return p
}

func hash(mirror *corev1.Pod) types.UID { return types.UID(mirror.Annotations[MirrorAnnotation]) }

// Mirror is the object that stands for a pod in the API.
func Mirror(pod *corev1.Pod, node types.UID) *corev1.Pod {
	m := pod.DeepCopy()
	m.UID, m.Generation, m.Status = "", 0, corev1.PodStatus{}
	m.Annotations[MirrorAnnotation] = pod.Annotations[HashAnnotation]
	controller := true
	m.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: pod.Spec.NodeName, UID: node, Controller: &controller}}
	return m
}
