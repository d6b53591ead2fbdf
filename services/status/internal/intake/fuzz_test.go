package intake

import (
	"encoding/json"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Whatever a node says of its pod or of itself becomes a patch that can be read, or none;
// what is not a node's to say stays.
func FuzzReport(f *testing.F) {
	f.Add([]byte(`{"phase":"Running","podIP":"10.0.0.1","conditions":[{"type":"Ready","status":"True"}],"containerStatuses":[{"name":"c"}]}`))
	f.Add([]byte(`{"conditions":[{"type":"PodScheduled","status":"False"},{}],"podIPs":[{"ip":"127.0.0.1"}],"phase":"x","qosClass":"Guaranteed"}`))
	f.Add([]byte(`{"metadata":{"labels":{"node-role.kubernetes.io/x":"","a/b/c":"d"},"ownerReferences":[{}]},"status":{"capacity":{"cpu":"1e99999"},"addresses":[{"type":"InternalIP","address":"::1"}],"conditions":null}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p", UID: "1"}, Status: corev1.PodStatus{
			Phase: corev1.PodPending, QOSClass: corev1.PodQOSBurstable, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}},
		}}
		var said corev1.PodStatus
		if json.Unmarshal(data, &said) == nil {
			next, changed := mergePod(pod.Status, said)
			if next.QOSClass != corev1.PodQOSBurstable {
				t.Errorf("the class of the pod is %s", next.QOSClass)
			}
			if changed {
				readable(t, pod, pod.Status, next)
			}
		}
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "2"}}
		var reported corev1.Node
		if json.Unmarshal(data, &reported) == nil {
			if made := newNode(&reported); len(made.OwnerReferences) > 0 || len(made.Finalizers) > 0 {
				t.Errorf("it registers with %v", made.ObjectMeta)
			}
			if next, changed := mergeNode(node.Status, reported.Status, time.Unix(0, 0)); changed {
				readable(t, node, node.Status, next)
			}
		}
	})
}

// readable checks that the patch from one status to the next, if there is one, is JSON.
func readable(t *testing.T, object metav1.Object, present, next any) {
	t.Helper()
	request, err := statusPatch("/x", object, present, next)
	if err == nil && len(request.Body) > 0 && !json.Valid(request.Body) {
		t.Errorf("the patch is %s", request.Body)
	}
}
