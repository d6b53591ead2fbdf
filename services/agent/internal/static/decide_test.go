package static

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func aPod(uid types.UID) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: uid, Annotations: map[string]string{SourceAnnotation: "file", HashAnnotation: string(uid)}},
		Spec: corev1.PodSpec{NodeName: "n"}}
}

func aMirror(of types.UID) *corev1.Pod {
	m := Mirror(aPod(of), "node")
	m.UID = "mirror-of-" + of
	return m
}

func TestDecide(t *testing.T) {
	t.Parallel()
	wanted := func(uid types.UID) map[string]*corev1.Pod { return map[string]*corev1.Pod{"ns/p": aPod(uid)} }
	here := func(uid types.UID) map[string]Pod { return map[string]Pod{"ns/p": {Pod: aPod(uid)}} }
	ending := func(uid types.UID) map[string]Pod { return map[string]Pod{"ns/p": {aPod(uid), true}} }
	mirror := func(of types.UID) map[string]*corev1.Pod { return map[string]*corev1.Pod{"ns/p": aMirror(of)} }
	deleted := mirror("1")
	deleted["ns/p"].DeletionTimestamp = &metav1.Time{}
	for name, c := range map[string]struct {
		world World
		want  string
	}{
		"a new file":                                            {World{Wanted: wanted("1"), Known: true}, "start 1"},
		"a new file, the API away":                              {World{Wanted: wanted("1")}, "start 1"},
		"its pod runs":                                          {World{Wanted: wanted("1"), Here: here("1"), Known: true}, "show 1"},
		"its pod runs, the API away":                            {World{Wanted: wanted("1"), Here: here("1")}, ""},
		"all is well":                                           {World{Wanted: wanted("1"), Here: here("1"), Mirrors: mirror("1"), Known: true}, ""},
		"somebody deletes the mirror":                           {World{Wanted: wanted("1"), Here: here("1"), Mirrors: deleted, Known: true}, "hide mirror-of-1"},
		"the file changed":                                      {World{Wanted: wanted("2"), Here: here("1"), Mirrors: mirror("1"), Known: true}, "end 1"},
		"the pod of before ends":                                {World{Wanted: wanted("2"), Here: ending("1"), Mirrors: mirror("1"), Known: true}, ""},
		"the pod of before has ended":                           {World{Wanted: wanted("2"), Mirrors: mirror("1"), Known: true}, "start 2"},
		"the mirror is that of before":                          {World{Wanted: wanted("2"), Here: here("2"), Mirrors: mirror("1"), Known: true}, "hide mirror-of-1"},
		"the file went":                                         {World{Here: here("1"), Mirrors: mirror("1"), Known: true}, "end 1"},
		"the file went and came back while its pod ends":        {World{Wanted: wanted("1"), Here: ending("1"), Mirrors: mirror("1"), Known: true}, ""},
		"its pod has ended":                                     {World{Mirrors: mirror("1"), Known: true}, "hide mirror-of-1"},
		"the file went while the agent and the API were away":   {World{Here: here("1")}, "end 1"},
		"a mirror of which the API has not told all the others": {World{Mirrors: mirror("1")}, ""},
	} {
		p, got := Decide(c.world), ""
		for verb, list := range map[string][]*corev1.Pod{"start": p.Start, "end": p.End, "show": p.Show, "hide": p.Hide} {
			for _, pod := range list {
				got += fmt.Sprint(verb, " ", pod.UID)
			}
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestAMirrorIsThePodOfTheNodeWithoutItsUID(t *testing.T) {
	t.Parallel()
	m := Mirror(aPod("hash"), "node-uid")
	o := m.OwnerReferences
	if m.UID != "" || m.Annotations[MirrorAnnotation] != "hash" || m.Annotations[HashAnnotation] != "hash" || m.Annotations[SourceAnnotation] != "file" ||
		len(o) != 1 || o[0].Kind != "Node" || o[0].Name != "n" || o[0].UID != "node-uid" || !*o[0].Controller {
		t.Errorf("got %+v", m.ObjectMeta)
	}
	if !IsMirror(m) || Is(m) || !Is(aPod("hash")) {
		t.Error("pods and mirrors are taken for each other")
	}
}
