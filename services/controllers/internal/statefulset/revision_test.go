package statefulset

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/services/controllers/internal/history"
)

func drafted(t *testing.T, image string, number int64) *appsv1.ControllerRevision {
	t.Helper()
	set := newSet(1)
	set.Spec.Template.Spec.Containers[0].Image = image
	data, err := history.Data(&set.Spec.Template)
	if err != nil {
		t.Fatal(err)
	}
	return draftRevision(set, data, number)
}

func TestChoose(t *testing.T) {
	t.Parallel()
	former := drafted(t, "image:0", 2)
	former.Data.Raw = []byte(strings.Replace(string(former.Data.Raw), `"labels"`, `"creationTimestamp":null,"labels"`, 1))
	former.Name = "web-former"
	tests := []struct {
		name      string
		revisions []*appsv1.ControllerRevision
		current   string // of the status
		update    string
		number    int64
		write     verb
		found     string
	}{
		{"the first revision", nil, "", drafted(t, "image:0", 1).Name, 1, create, ""},
		{"a new template", []*appsv1.ControllerRevision{drafted(t, "image:7", 4)}, drafted(t, "image:7", 4).Name, drafted(t, "image:0", 1).Name, 5, create, drafted(t, "image:7", 4).Name},
		{"the same template", []*appsv1.ControllerRevision{drafted(t, "image:0", 4), drafted(t, "image:7", 3)}, "", drafted(t, "image:0", 1).Name, 4, none, ""},
		{"an earlier template", []*appsv1.ControllerRevision{drafted(t, "image:0", 2), drafted(t, "image:7", 3)}, "", drafted(t, "image:0", 1).Name, 4, update, ""},
		{"the same template as a former release encoded it", []*appsv1.ControllerRevision{former}, "", "web-former", 2, none, ""},
	}
	for _, tt := range tests {
		set := newSet(1)
		set.Annotations = map[string]string{"kubernetes.io/change-cause": "x"}
		set.Status.CurrentRevision = tt.current
		got, err := choose(set, tt.revisions)
		if err != nil || got.Update.Name != tt.update || got.Update.Revision != tt.number || got.Write != tt.write {
			t.Errorf("%s: %v, %s number %d, %q, want %s number %d, %q", tt.name, err, got.Update.Name, got.Update.Revision, got.Write, tt.update, tt.number, tt.write)
		}
		if found := got.Current; (found == nil) != (tt.found == "") || found != nil && found.Name != tt.found {
			t.Errorf("%s: current is %v, want %q", tt.name, found, tt.found)
		}
		if tt.write == create {
			r := got.Update
			if r.Labels["app"] != "web" || r.Name != "web-"+r.Labels[history.HashLabel] || r.Annotations["kubernetes.io/change-cause"] != "x" || !metav1.IsControlledBy(r, set) {
				t.Errorf("%s: drafted %+v", tt.name, r.ObjectMeta)
			}
		}
	}
	for _, r := range tests[3].revisions {
		if r.Revision > 3 {
			t.Error("a revision that is shared was changed")
		}
	}
}

func TestHistoryIsLimited(t *testing.T) {
	t.Parallel()
	set := newSet(1)
	all := []*appsv1.ControllerRevision{revisionNumbered("a", 1), revisionNumbered("b", 2), revisionNumbered("c", 3), revisionNumbered("d", 4), revisionNumbered("e", 5)}
	pods := podsOf(set, "0:a,ready")
	for limit, want := range map[int32]string{0: "b c ", 1: "b ", 2: "", 10: ""} {
		set.Spec.RevisionHistoryLimit = &limit
		got := ""
		for _, r := range superfluous(set, all, pods, "d", "e") {
			got += r.Name + " "
		}
		if got != want {
			t.Errorf("limit %d: %q goes, want %q", limit, got, want)
		}
	}
}

func revisionNumbered(name string, number int64) *appsv1.ControllerRevision {
	r := revisionNamed(name, "image:"+name)
	r.Revision = number
	return r
}
