package event

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func about(name, message string) corev1.Event {
	return corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: name + ".1"},
		InvolvedObject: corev1.ObjectReference{Kind: "ReplicaSet", Name: name},
		Type:           "Normal", Reason: "SuccessfulCreate", Message: message, Count: 1,
	}
}

func TestTheSameEventTwiceIsOneWithACount(t *testing.T) {
	c := newCorrelator()
	now := time.Unix(1000, 0)
	if _, repeat, ok := c.correlate(about("web", "a"), now); repeat || !ok {
		t.Fatalf("first: repeat %v, ok %v, want a new one", repeat, ok)
	}
	event, repeat, ok := c.correlate(about("web", "a"), now)
	if !repeat || !ok || event.Count != 2 {
		t.Fatalf("second: repeat %v, ok %v, count %d, want a count of 2", repeat, ok, event.Count)
	}
}

func TestTenDifferentMessagesAreCombined(t *testing.T) {
	c := newCorrelator()
	now := time.Unix(1000, 0)
	for i := range 9 {
		if event, repeat, _ := c.correlate(about("web", fmt.Sprint(i)), now); repeat || event.Message != fmt.Sprint(i) {
			t.Fatalf("message %d became %q", i, event.Message)
		}
	}
	event, repeat, _ := c.correlate(about("web", "9"), now)
	if repeat || event.Message != "(combined from similar events): 9" {
		t.Fatalf("the tenth: repeat %v, message %q", repeat, event.Message)
	}
	if event, repeat, _ = c.correlate(about("web", "10"), now); !repeat || event.Count != 2 {
		t.Fatalf("the eleventh: repeat %v, count %d", repeat, event.Count)
	}
}

func TestAnObjectHasTwentyFiveEventsAndThenOneInFiveMinutes(t *testing.T) {
	c := newCorrelator()
	now := time.Unix(1000, 0)
	written := 0
	for i := range 100 {
		if _, _, ok := c.correlate(about("web", fmt.Sprint(i)), now); ok {
			written++
		}
	}
	if written != 25 {
		t.Fatalf("wrote %d, want 25", written)
	}
	if _, _, ok := c.correlate(about("db", "other objects have their own"), now); !ok {
		t.Fatal("another object's event was dropped")
	}
	if _, _, ok := c.correlate(about("web", "later"), now.Add(5*time.Minute)); !ok {
		t.Fatal("after five minutes the event was dropped")
	}
}
