package informer

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// Whatever is read, a bounded number of objects is kept, and one more displaces one other.
func TestAFullCacheLosesOneObjectForOneMore(t *testing.T) {
	var k kept
	kind := &resource.Kind{}
	entries := make([]*statelog.Entry, 3*keptMost)
	remaining := func(put int) (n int) {
		for _, e := range entries[:put] {
			if k.get(e, kind) != nil {
				n++
			}
		}
		return n
	}
	for i := range entries {
		key := proto.Key{GroupResource: proto.GroupResource{Resource: "configmaps"}, Namespace: "a", Name: fmt.Sprint(i)}
		entries[i] = statelog.NewEntry(key, uint64(i+1), []byte(`{"metadata":{}}`), false)
		k.put(entries[i], kind, &corev1.ConfigMap{})
		if put := i + 1; put%500 == 0 && remaining(put) != min(put, keptMost) {
			t.Fatalf("of %d objects %d are kept, want %d", put, remaining(put), min(put, keptMost))
		}
		if k.get(entries[i], kind) == nil {
			t.Fatalf("object %d is not kept", i)
		}
	}
	newer := statelog.NewEntry(entries[len(entries)-1].Key(), 1<<20, []byte(`{"metadata":{}}`), false)
	if k.get(newer, kind) != nil || k.get(entries[len(entries)-1], &resource.Kind{}) != nil {
		t.Error("an object is kept for a version or a kind that is not its own")
	}
}
