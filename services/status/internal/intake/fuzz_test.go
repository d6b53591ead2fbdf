package intake

import (
	"encoding/json"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/randfill"
)

// Whatever a node says of its pod or of itself becomes a patch that can be read, or none;
// what is not a node's to say stays. Bytes that are no JSON say which fields are filled.
func FuzzReport(f *testing.F) {
	f.Add([]byte(`{"phase":"Running","podIP":"10.0.0.1","conditions":[{"type":"Ready","status":"True"}],"containerStatuses":[{"name":"c"}]}`))
	f.Add([]byte(`{"conditions":[{"type":"PodScheduled","status":"False"},{}],"podIPs":[{"ip":"127.0.0.1"}],"phase":"x","qosClass":"Guaranteed"}`))
	f.Add([]byte("what a node says may be anything at all, and as long as it likes, 0123456789"))
	f.Add([]byte(`{"metadata":{"labels":{"node-role.kubernetes.io/x":"","a/b/c":"d"},"ownerReferences":[{}]},"status":{"capacity":{"cpu":"1e99999"},"addresses":[{"type":"InternalIP","address":"::1"}],"conditions":null}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p", UID: "1"}, Status: corev1.PodStatus{
			Phase: corev1.PodPending, QOSClass: corev1.PodQOSBurstable, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}},
		}}
		var said corev1.PodStatus
		if err := json.Unmarshal(data, &said); err == nil || filled(data, &said) {
			next, changed := mergePod(pod.Status, said)
			for _, c := range next.Conditions {
				if c.Type == corev1.PodScheduled && c.Status != corev1.ConditionTrue {
					t.Errorf("the pod is no longer scheduled: %+v", c)
				}
			}
			if next.NominatedNodeName != "" || len(next.ResourceClaimStatuses) > 0 {
				t.Errorf("the scheduler's are %q and %v", next.NominatedNodeName, next.ResourceClaimStatuses)
			}
			if next.QOSClass != corev1.PodQOSBurstable {
				t.Errorf("the class of the pod is %s", next.QOSClass)
			}
			if changed {
				readable(t, pod, pod.Status, next)
			}
		}
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "2"}, Status: corev1.NodeStatus{
			VolumesAttached: []corev1.AttachedVolume{{Name: "v"}}, Capacity: corev1.ResourceList{"example.com/gpu": resource.MustParse("1")},
		}}
		var reported corev1.Node
		if err := json.Unmarshal(data, &reported); err == nil || filled(data, &reported) {
			if made := newNode(&reported); len(made.OwnerReferences) > 0 || len(made.Finalizers) > 0 {
				t.Errorf("it registers with %v", made.ObjectMeta)
			}
			next, changed := mergeNode(node.Status, reported.Status, time.Unix(0, 0))
			if !equality.Semantic.DeepEqual(next.VolumesAttached, node.Status.VolumesAttached) || next.Capacity["example.com/gpu"] == (resource.Quantity{}) {
				t.Errorf("the node has attached %v, and can %v", next.VolumesAttached, next.Capacity)
			}
			if changed {
				readable(t, node, node.Status, next)
			}
		}
	})
}

// filled fills an object by what the bytes say.
func filled(data []byte, into any) bool {
	if len(data) == 0 {
		return false
	}
	randfill.NewFromGoFuzz(data).NilChance(0.3).NumElements(0, 3).MaxDepth(12).Funcs(
		func(q *resource.Quantity, c randfill.Continue) {
			*q = *resource.NewScaledQuantity(c.Int63(), resource.Scale(c.Intn(18)-9))
		},
		func(p *corev1.PodConditionType, c randfill.Continue) {
			*p = []corev1.PodConditionType{corev1.PodScheduled, corev1.PodReady, corev1.PodResizePending, "example.com/x"}[c.Intn(4)]
		},
		func(p *corev1.NodeConditionType, c randfill.Continue) {
			*p = []corev1.NodeConditionType{corev1.NodeReady, "example.com/x"}[c.Intn(2)]
		},
		func(p *corev1.PodPhase, c randfill.Continue) {
			*p = []corev1.PodPhase{corev1.PodPending, corev1.PodRunning, corev1.PodFailed, ""}[c.Intn(4)]
		},
	).Fill(into)
	return true
}

// readable checks that the patch from one status to the next, if there is one, is JSON.
func readable(t *testing.T, object metav1.Object, present, next any) {
	t.Helper()
	request, err := statusPatch("/x", object, present, next)
	if err == nil && len(request.Body) > 0 && !json.Valid(request.Body) {
		t.Errorf("the patch is %s", request.Body)
	}
}
