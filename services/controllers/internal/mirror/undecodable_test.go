package mirror

import (
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// One object that is none of its kind does not end the service that reads it.
func TestWhatCannotBeDecodedIsPassedOverAndTold(t *testing.T) {
	t.Parallel()
	pods := NewWorld().Pods
	pods.Follow()
	var heard []string
	pods.Handle(func(_, object *corev1.Pod) { heard = append(heard, object.Name+object.ResourceVersion) })
	core, logs := observer.New(zap.ErrorLevel)
	logger := zap.New(core)
	entry := func(name string, revision uint64, document string) *statelog.Entry {
		return statelog.NewEntry(proto.Key{GroupResource: pods.gr, Namespace: "default", Name: name}, revision, []byte(document), false)
	}
	pods.decode(entry("a", 1, `{"metadata":{"name":"a","namespace":"default"}}`), 1, logger)
	pods.decode(entry("a", 2, `{"metadata":{"name":"a","namespace":"default"},"spec":"none"}`), 2, logger)
	pods.decode(entry("b", 3, `{"metadata":{"name":["b"]}}`), 3, logger)
	if err := pods.WaitRevision(t.Context(), 3); err != nil {
		t.Errorf("who waits for what came with it: %v", err)
	}
	pods.decode(entry("c", 4, `{"metadata":{"name":"c","namespace":"default"}}`), 4, logger)
	if len(heard) != 2 || heard[0] != "a1" || heard[1] != "c4" {
		t.Errorf("heard of %v, want a1 and c4", heard)
	}
	if a := pods.Get("default", "a"); a == nil || a.ResourceVersion != "1" {
		t.Errorf("got %v, want the last version that could be read", a)
	}
	if logs.Len() != 2 {
		t.Errorf("%d lines in the log, want 2", logs.Len())
	}
}
