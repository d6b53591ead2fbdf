package daemonset

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/services/controllers/internal/history"
)

func drafted(t *testing.T, image string, number int64) *appsv1.ControllerRevision {
	t.Helper()
	set := newSet()
	set.Spec.Template.Spec.Containers[0].Image = image
	data, err := history.Data(&set.Spec.Template)
	if err != nil {
		t.Fatal(err)
	}
	return draftRevision(set, data, number)
}

func called(r *appsv1.ControllerRevision, name, hash string) *appsv1.ControllerRevision {
	r.Name = name
	if r.Labels[hashLabel] = hash; hash == "" {
		r.Labels = nil
	}
	return r
}

func TestTrace(t *testing.T) {
	t.Parallel()
	name := drafted(t, "image:0", 1).Name
	type written struct {
		name   string
		number int64
		hash   string
	}
	tests := []struct {
		name       string
		revisions  []*appsv1.ControllerRevision
		current    string
		number     int64
		create     bool
		update     []written
		duplicates int
		old        int
	}{
		{"the first", nil, name, 1, true, nil, 0, 0},
		{"a new template", []*appsv1.ControllerRevision{called(drafted(t, "image:7", 6), "x", "h")}, name, 7, true, nil, 0, 1},
		{"the same", []*appsv1.ControllerRevision{called(drafted(t, "image:0", 4), "x", "h")}, "x", 4, false, nil, 0, 0},
		{"back to an earlier one", []*appsv1.ControllerRevision{called(drafted(t, "image:0", 4), "x", "h"), called(drafted(t, "image:7", 5), "y", "i")}, "x", 6, false, []written{{"x", 6, "h"}}, 0, 1},
		{"one without a label", []*appsv1.ControllerRevision{called(drafted(t, "image:0", 4), "x", "")}, "x", 4, false, []written{{"x", 4, "x"}}, 0, 0},
		{"an earlier one without a label", []*appsv1.ControllerRevision{called(drafted(t, "image:0", 4), "x", ""), called(drafted(t, "image:7", 5), "y", "")}, "x", 6, false, []written{{"x", 6, "x"}, {"y", 5, "y"}}, 0, 1},
		{"the same twice", []*appsv1.ControllerRevision{called(drafted(t, "image:0", 4), "x", "h"), called(drafted(t, "image:0", 3), "y", "i")}, "x", 4, false, nil, 1, 0},
	}
	for _, tt := range tests {
		set := newSet()
		set.Annotations = map[string]string{"kubernetes.io/change-cause": "x"}
		got, err := trace(set, tt.revisions)
		if err != nil || got.Current.Name != tt.current || got.Current.Revision != tt.number || got.Create != tt.create || len(got.Duplicates) != tt.duplicates || len(got.Old) != tt.old {
			t.Errorf("%s: %v, %+v", tt.name, err, got)
		}
		if len(got.Update) != len(tt.update) {
			t.Errorf("%s: %d are written, want %d", tt.name, len(got.Update), len(tt.update))
			continue
		}
		for i, want := range tt.update {
			if r := got.Update[i]; r.Name != want.name || r.Revision != want.number || r.Labels[hashLabel] != want.hash {
				t.Errorf("%s: %s is written with number %d and %v, want %v", tt.name, r.Name, r.Revision, r.Labels, want)
			}
		}
		if r := got.Current; tt.create && (r.Labels["app"] != "agent" || r.Name != "agent-"+r.Labels[hashLabel] || r.Annotations["kubernetes.io/change-cause"] != "x" || !metav1.IsControlledBy(r, set)) {
			t.Errorf("%s: drafted %+v", tt.name, r.ObjectMeta)
		}
	}
	for _, r := range tests[5].revisions {
		if r.Labels != nil || r.Revision > 5 {
			t.Error("a revision that is shared was changed")
		}
	}
}

func TestPodsOfDuplicatesAreRelabelled(t *testing.T) {
	t.Parallel()
	l := lineage{
		Current:    called(drafted(t, "image:0", 4), "x", "h"),
		Duplicates: []*appsv1.ControllerRevision{called(drafted(t, "image:0", 3), "y", "i")},
	}
	got := l.mislabelled(podsOf("a:h b:i c:old"))
	if len(got) != 1 || got[0].Name != "b" {
		t.Errorf("got %d pods", len(got))
	}
}

func TestHistoryIsLimited(t *testing.T) {
	t.Parallel()
	l := lineage{}
	for number, name := range []string{"a", "b", "c", "d"} {
		l.Old = append(l.Old, called(drafted(t, name, int64(number)), name, name))
	}
	set := newSet()
	for limit, want := range map[int32]string{0: "b c d ", 1: "b c d ", 2: "b c ", 3: "b ", 4: "", 10: ""} {
		set.Spec.RevisionHistoryLimit = &limit
		got := ""
		for _, r := range l.superfluous(set, podsOf("node:a,failed,going")) {
			got += r.Name + " "
		}
		if got != want {
			t.Errorf("limit %d: %q goes, want %q", limit, got, want)
		}
	}
}
