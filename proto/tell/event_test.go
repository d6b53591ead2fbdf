package tell

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestAnEventSaysOfWhatAndWhoTells(t *testing.T) {
	t.Parallel()
	now := time.Unix(7, 0)
	about := &corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "ns", Name: "p", UID: "u"}
	e := Event(Source{"kubelet", "n1"}, about, "x", corev1.EventTypeWarning, "Failed", "it failed", now)
	if e.Namespace != "ns" || e.Name != "p.x" || e.InvolvedObject != *about || e.Count != 1 || !e.FirstTimestamp.Time.Equal(now) || !e.LastTimestamp.Time.Equal(now) ||
		e.Source != (corev1.EventSource{Component: "kubelet", Host: "n1"}) || e.ReportingController != "kubelet" || e.ReportingInstance != "n1" ||
		e.Type != "Warning" || e.Reason != "Failed" || e.Message != "it failed" {
		t.Errorf("got %+v", e)
	}
	if e := Event(Source{}, &corev1.ObjectReference{Kind: "Node", Name: "n"}, "x", "", "", "", now); e.Namespace != "default" {
		t.Errorf("an event of what has no namespace is in %q", e.Namespace)
	}
}

func TestAMessageIsCutBetweenLetters(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]int{
		strings.Repeat("a", 1024): 1024, strings.Repeat("a", 1025): 1024, strings.Repeat("ä", 512): 1024, "a" + strings.Repeat("ä", 512): 1023, strings.Repeat("€", 400): 1023,
	} {
		if got := Event(Source{}, &corev1.ObjectReference{}, "", "", "", message, time.Time{}).Message; len(got) != want || !strings.HasPrefix(message, got) {
			t.Errorf("of %d bytes %d are left, want %d", len(message), len(got), want)
		}
	}
}
