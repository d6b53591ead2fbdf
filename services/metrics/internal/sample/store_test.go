package sample

import (
	"math"
	"strconv"
	"testing"
	"time"

	"kubus.dev/proto/message"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// usage is a reading after so long, of a container that started then.
func usage(cpu time.Duration, bytes uint64, started time.Duration) *message.Usage {
	return &message.Usage{CpuNs: uint64(cpu), MemoryBytes: bytes, StartUnixNs: began.Add(started).UnixNano()}
}

func said(after time.Duration, machine *message.Usage, containers map[string]*message.Usage) *message.NodeUsage {
	m := &message.NodeUsage{TimeUnixNs: began.Add(after).UnixNano(), Node: machine}
	p := &message.PodUsage{Uid: "u"}
	for name, u := range containers {
		p.Containers = append(p.Containers, &message.ContainerUsage{Name: name, Usage: u})
	}
	if len(containers) > 0 {
		m.Pods = append(m.Pods, p)
	}
	return m
}

func TestRatesOfAPod(t *testing.T) {
	t.Parallel()
	one := func(u *message.Usage) map[string]*message.Usage { return map[string]*message.Usage{"app": u} }
	for _, tc := range []struct {
		name string
		said []*message.NodeUsage
		want []Rate // nil: none
	}{
		{"one reading of an old container gives none", []*message.NodeUsage{said(time.Hour, nil, one(usage(time.Minute, 1, 0)))}, nil},
		{"two give the rate between them", []*message.NodeUsage{
			said(time.Hour, nil, one(usage(time.Minute, 1, 0))),
			said(time.Hour+2*time.Second, nil, one(usage(time.Minute+time.Second, 2, 0))),
		}, []Rate{{"app", 500_000_000, 2, began.Add(time.Hour + 2*time.Second), 2 * time.Second}}},
		{"more give the rate from the first to the last, and what is in memory now", []*message.NodeUsage{
			said(time.Hour, nil, one(usage(time.Minute, 1, 0))),
			said(time.Hour+2*time.Second, nil, one(usage(time.Minute+2*time.Second, 2, 0))),
			said(time.Hour+4*time.Second, nil, one(usage(time.Minute+2*time.Second, 3, 0))),
		}, []Rate{{"app", 500_000_000, 3, began.Add(time.Hour + 4*time.Second), 4 * time.Second}}},
		{"a young container's start is its first reading", []*message.NodeUsage{
			said(time.Hour, nil, one(usage(2*time.Second, 1, time.Hour-4*time.Second))),
		}, []Rate{{"app", 500_000_000, 1, began.Add(time.Hour), 4 * time.Second}}},
		{"one that has just started says nothing yet", []*message.NodeUsage{
			said(time.Hour, nil, one(usage(time.Millisecond, 1, time.Hour-time.Millisecond))),
		}, nil},
		{"one that started anew is another", []*message.NodeUsage{
			said(time.Hour, nil, one(usage(time.Minute, 1, 0))),
			said(time.Hour+10*time.Second, nil, one(usage(time.Second, 2, time.Hour+8*time.Second))),
		}, []Rate{{"app", 500_000_000, 2, began.Add(time.Hour + 10*time.Second), 2 * time.Second}}},
		{"a counter that runs backwards begins anew", []*message.NodeUsage{
			said(time.Hour, nil, one(usage(time.Minute, 1, 0))),
			said(time.Hour+2*time.Second, nil, one(usage(time.Second, 2, 0))),
		}, nil},
		{"a message that comes twice changes nothing", []*message.NodeUsage{
			said(time.Hour, nil, one(usage(time.Minute, 1, 0))),
			said(time.Hour+2*time.Second, nil, one(usage(time.Minute+time.Second, 2, 0))),
			said(time.Hour+2*time.Second, nil, one(usage(time.Minute+time.Second, 2, 0))),
		}, []Rate{{"app", 500_000_000, 2, began.Add(time.Hour + 2*time.Second), 2 * time.Second}}},
		{"more memory than a machine has is none", []*message.NodeUsage{
			said(time.Hour, nil, one(usage(time.Minute, 1, 0))),
			said(time.Hour+2*time.Second, nil, one(usage(time.Minute+time.Second, 1<<63, 0))),
		}, nil},
		{"more processors than a machine has are none", []*message.NodeUsage{
			said(time.Hour, nil, one(usage(time.Minute, 1, 0))),
			said(time.Hour+2*time.Nanosecond, nil, one(usage(math.MaxInt64, 1, 0))),
		}, nil},
		{"a pod is whole or not there", []*message.NodeUsage{
			said(time.Hour, nil, one(usage(time.Minute, 1, 0))),
			said(time.Hour+2*time.Second, nil, map[string]*message.Usage{"app": usage(time.Minute, 2, 0), "late": usage(time.Minute, 2, 0)}),
		}, nil},
		{"its containers come by name", []*message.NodeUsage{
			said(time.Hour, nil, map[string]*message.Usage{"b": usage(0, 2, time.Hour-2*time.Second), "a": usage(0, 1, time.Hour-2*time.Second)}),
		}, []Rate{{"a", 0, 1, began.Add(time.Hour), 2 * time.Second}, {"b", 0, 2, began.Add(time.Hour), 2 * time.Second}}},
		{"a pod that is not told of any more is gone", []*message.NodeUsage{
			said(time.Hour, nil, one(usage(0, 1, time.Hour-2*time.Second))), said(time.Hour+2*time.Second, nil, nil),
		}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := New()
			for _, m := range tc.said {
				s.Begin()
				s.Take("n", m)
			}
			got, ok := s.Pod("n", "u")
			if ok != (tc.want != nil) || len(got) != len(tc.want) {
				t.Fatalf("got %+v, want %+v", got, tc.want)
			}
			for i := range got {
				if !got[i].Timestamp.Equal(tc.want[i].Timestamp) {
					t.Errorf("timestamp %s, want %s", got[i].Timestamp, tc.want[i].Timestamp)
				}
				got[i].Timestamp = tc.want[i].Timestamp
				if got[i] != tc.want[i] {
					t.Errorf("got %+v, want %+v", got[i], tc.want[i])
				}
			}
			if _, ok := s.Pod("other", "u"); ok {
				t.Error("another node knows of the pod")
			}
		})
	}
}

func TestANodeThatFallsSilentIsForgotten(t *testing.T) {
	t.Parallel()
	s := New()
	machine := func(after time.Duration) *message.NodeUsage {
		return said(after, &message.Usage{CpuNs: uint64(after), MemoryBytes: 7}, nil)
	}
	for i := range 3 {
		s.Begin()
		s.Take("n", machine(time.Duration(i)*time.Second))
	}
	for missed := range 2 {
		if r, ok := s.Node("n"); !ok || r.NanoCores != 1_000_000_000 || r.Bytes != 7 {
			t.Fatalf("after %d missed rounds: got %+v, %v", missed, r, ok)
		}
		s.Begin()
	}
	s.Begin()
	if r, ok := s.Node("n"); ok {
		t.Errorf("still shown: %+v", r)
	}
}

func TestARoundIsCompleteWhenAllHaveAnsweredThatDidBefore(t *testing.T) {
	t.Parallel()
	s := New()
	m := said(0, nil, nil)
	s.Begin()
	if s.Take("a", m) || s.Take("b", m) {
		t.Error("nobody is known of before the first round is over")
	}
	s.Begin()
	if s.Take("a", m) {
		t.Error("b has not answered")
	}
	if s.Take("c", m) {
		t.Error("nobody waits for a new node")
	}
	if !s.Take("b", m) {
		t.Error("all have answered")
	}
	if s.Take("b", m) {
		t.Error("a round is complete once")
	}
}

// What a node says of more pods than there can be takes no more than its share.
func TestOfANodeIsKeptOnlySoMuch(t *testing.T) {
	t.Parallel()
	s := New()
	s.Begin()
	m := &message.NodeUsage{TimeUnixNs: began.UnixNano(), Node: usage(0, 1, 0)}
	for i := range mostReadings {
		m.Pods = append(m.Pods, &message.PodUsage{Uid: strconv.Itoa(i), Containers: []*message.ContainerUsage{{Name: "a"}, {Name: "b"}, {Name: "c"}}})
	}
	s.Take("flood", m)
	s.Take("other", said(0, usage(0, 1, 0), map[string]*message.Usage{"app": usage(0, 1, 0)}))
	if got := len(s.nodes["flood"].pods); got != mostReadings/4 {
		t.Errorf("%d pods are kept", got)
	}
	if len(s.nodes["other"].pods) != 1 {
		t.Error("another node's pod is not kept")
	}
	s.Take("flood", &message.NodeUsage{Pods: []*message.PodUsage{{Uid: "u", Containers: make([]*message.ContainerUsage, mostReadings)}}})
	if got := len(s.nodes["flood"].pods); got != 0 {
		t.Errorf("a pod of %d containers is kept", mostReadings)
	}
}
