package read_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

const asTable = "application/json;as=Table;v=v1;g=meta.k8s.io"

func (s *server) rows(path string) map[string][]any {
	s.t.Helper()
	code, _, body := s.get(path, asTable)
	var table metav1.Table
	if err := json.Unmarshal(body, &table); code != 200 || err != nil {
		s.t.Fatalf("%d %v: %s", code, err, body)
	}
	rows := map[string][]any{}
	for _, r := range table.Rows {
		rows[r.Cells[0].(string)] = r.Cells
	}
	return rows
}

// A row is printed once for each version of its object; its age is always that of now.
func TestARowIsAsOldAsItsObject(t *testing.T) {
	s := start(t, nil)
	born := map[string]time.Time{}
	for i, age := range []time.Duration{time.Second, time.Minute, 3 * time.Hour, 50 * time.Hour, 9000 * time.Hour} {
		name := fmt.Sprint("p", i)
		born[name] = time.Now().Add(-age).Truncate(time.Second)
		s.put(&corev1.Pod{TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, UID: "u", CreationTimestamp: metav1.NewTime(born[name])}}, podKey("a", name))
	}
	s.pod("a", "unborn", "", nil)
	for round := range 3 {
		before := time.Now()
		rows := s.rows("/api/v1/pods")
		after := time.Now()
		for name, at := range born {
			got := rows[name][4]
			if want, or := duration.HumanDuration(before.Sub(at)), duration.HumanDuration(after.Sub(at)); got != want && got != or {
				t.Errorf("round %d: the age of %s is %v, want %s or %s", round, name, got, want, or)
			}
		}
		if got := rows["unborn"][4]; got != "<unknown>" {
			t.Errorf("round %d: without a time of creation: %v", round, got)
		}
		if round == 1 {
			s.pod("a", "unborn", "n1", nil)
		}
		if want := map[int]string{0: "<none>", 1: "<none>", 2: "n1"}[round]; rows["unborn"][6] != want {
			t.Errorf("round %d: the node is %v, want %s", round, rows["unborn"][6], want)
		}
	}
}

// What else depends on the time is printed anew each time.
func TestARowThatTellsOfARestartIsOfNow(t *testing.T) {
	s := start(t, nil)
	at := time.Now().Add(-10 * time.Second)
	s.put(&corev1.Pod{TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "x", UID: "u", CreationTimestamp: metav1.NewTime(at)},
		Spec:   corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "c", RestartCount: 2, LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.NewTime(at)}}}}},
	}, podKey("a", "x"))
	first := s.rows("/api/v1/pods")["x"][3]
	for end := time.Now().Add(time.Minute); s.rows("/api/v1/pods")["x"][3] == first; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("a minute later it says still %v", first)
		}
	}
}
