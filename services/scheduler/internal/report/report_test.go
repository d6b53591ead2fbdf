package report

import (
	"context"
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/scheduler/internal/shape"
)

// written is a Writer that hands on what it is given.
type written chan []Condition

func (w written) Write(_ context.Context, c []Condition, _ []corev1.Event) error {
	w <- c
	return nil
}

func TestUnschedulableSaysWhichGenerationItIsAbout(t *testing.T) {
	w := make(written, 1)
	r := New(w, Options{Logger: zap.NewNop()})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = r.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	r.Unschedulable(&shape.Pod{Namespace: "ns", Name: "p", UID: "u", Generation: 4, Shape: ours}, "no room")
	select {
	case got := <-w:
		if len(got) != 1 || got[0].ObservedGeneration != 4 || got[0].Message != "no room" {
			t.Errorf("wrote %+v", got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was written")
	}
}

// events is a Writer that hands on the events.
type events chan []corev1.Event

func (e events) Write(_ context.Context, _ []Condition, list []corev1.Event) error {
	e <- list
	return nil
}

func TestThePreemptedPodsEventNamesWhoItWasFor(t *testing.T) {
	w := make(events, 1)
	r := New(w, Options{Logger: zap.NewNop()})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = r.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	r.Preempted(&shape.Pod{Namespace: "ns", Name: "small", UID: "s", Shape: ours}, &shape.Pod{Namespace: "ns", Name: "big", UID: "b", Shape: ours}, "n1")
	select {
	case got := <-w:
		if len(got) != 1 {
			t.Fatalf("wrote %+v", got)
		}
		e := got[0]
		if e.Type != "Normal" || e.Reason != "Preempted" || e.Action != "Preempting" || e.Message != "Preempted by pod b on node n1" || e.InvolvedObject.Name != "small" || e.Related == nil || e.Related.Name != "big" {
			t.Errorf("wrote %+v", e)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was written")
	}
}

// ours is the shape of pods of the default scheduler.
var ours = &shape.Shape{SchedulerName: "default-scheduler"}
