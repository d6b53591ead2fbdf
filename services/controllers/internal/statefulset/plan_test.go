package statefulset

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func newSet(replicas int, options ...func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "set", Generation: 3},
		Spec: appsv1.StatefulSetSpec{
			Replicas: new(int32(replicas)), ServiceName: "svc",
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "image:0"}}},
			},
			PodManagementPolicy: appsv1.OrderedReadyPodManagement,
			UpdateStrategy: appsv1.StatefulSetUpdateStrategy{
				Type: appsv1.RollingUpdateStatefulSetStrategyType, RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32(0))},
			},
		},
	}
	for _, option := range options {
		option(set)
	}
	return set
}

func parallel(set *appsv1.StatefulSet) {
	set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
}
func onDelete(set *appsv1.StatefulSet) {
	set.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
}
func recreate(set *appsv1.StatefulSet) {
	set.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.RecreateStatefulSetStrategyType}
}
func startingAt(n int32) func(*appsv1.StatefulSet) {
	return func(set *appsv1.StatefulSet) { set.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: n} }
}
func from(n int32) func(*appsv1.StatefulSet) {
	return func(set *appsv1.StatefulSet) { set.Spec.UpdateStrategy.RollingUpdate.Partition = &n }
}
func atMost(value string) func(*appsv1.StatefulSet) {
	return func(set *appsv1.StatefulSet) {
		set.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable = new(intstr.Parse(value))
	}
}
func minReady(set *appsv1.StatefulSet) { set.Spec.MinReadySeconds = 30 }
func deleted(set *appsv1.StatefulSet)  { set.DeletionTimestamp = new(metav1.NewTime(now)) }
func withClaims(set *appsv1.StatefulSet) {
	set.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}}
}
func retaining(whenScaled, whenDeleted appsv1.PersistentVolumeClaimRetentionPolicyType) func(*appsv1.StatefulSet) {
	return func(set *appsv1.StatefulSet) {
		set.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenScaled: whenScaled, WhenDeleted: whenDeleted}
	}
}

// podsOf reads "0:old,ready 1:new,pending": an ordinal, its pod's revision and state.
func podsOf(set *appsv1.StatefulSet, spec string) (out []*corev1.Pod) {
	for _, each := range strings.Fields(spec) {
		ordinal, state, _ := strings.Cut(each, ":")
		words := strings.Split(state, ",")
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "ns", Name: "web-" + ordinal, UID: types.UID("uid-" + ordinal),
				Labels: map[string]string{"app": "web", appsv1.StatefulSetRevisionLabel: words[0], appsv1.StatefulSetPodNameLabel: "web-" + ordinal, appsv1.PodIndexLabel: ordinal},
			},
			Status: corev1.PodStatus{Phase: corev1.PodRunning},
		}
		for _, word := range words[1:] {
			switch word {
			case "ready":
				ready(p, now.Add(-time.Minute))
			case "fresh": // ready since a moment
				ready(p, now.Add(-time.Second))
			case "pending":
				p.Status.Phase = corev1.PodPending
			case "failed":
				p.Status.Phase = corev1.PodFailed
			case "succeeded":
				p.Status.Phase = corev1.PodSucceeded
			case "going":
				p.DeletionTimestamp = new(metav1.NewTime(now))
			case "anonymous":
				delete(p.Labels, appsv1.StatefulSetPodNameLabel)
			}
		}
		if !strings.Contains(state, "unstored") {
			store(set, p)
		}
		out = append(out, p)
	}
	return out
}

func revisionNamed(name, image string) *appsv1.ControllerRevision {
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name},
		Data:       runtime.RawExtension{Raw: []byte(`{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"c","image":"` + image + `","resources":{}}]}}}}`)},
	}
}

// described is a plan in one line.
func described(p plan) string {
	var out []string
	for _, s := range p.Pods {
		line := string(s.Write) + " " + s.Pod.Name
		switch s.Write {
		case create:
			line += " of " + revisionOf(s.Pod)
		case none:
			line = "settle " + s.Pod.Name
		}
		for _, c := range s.Claims {
			line += " +" + c.Name
		}
		for _, c := range s.Owners {
			line += " " + c.Name + ownersOf(c)
		}
		if s.Blocked != nil {
			line += " (" + s.Blocked.Error() + ")"
		}
		out = append(out, line)
	}
	for _, c := range p.Owners {
		out = append(out, c.Name+ownersOf(c))
	}
	for _, each := range p.Retire {
		out = append(out, "retire "+each.Name)
	}
	for _, n := range p.Events {
		out = append(out, n.Reason)
	}
	return strings.Join(out, "; ")
}

func ownersOf(c *corev1.PersistentVolumeClaim) string {
	var names []string
	for _, ref := range c.OwnerReferences {
		names = append(names, ref.Kind+"/"+ref.Name)
	}
	return "<" + strings.Join(names, ",") + ">"
}

func TestDecide(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		set  *appsv1.StatefulSet
		pods string
		want string
	}{
		{"an ordered set begins with its first ordinal", newSet(3), "", "create web-0 of new"},
		{"and waits until that is ready", newSet(3), "0:new,pending", ""},
		{"and until it is available", newSet(3, minReady), "0:new,fresh", ""},
		{"before the next", newSet(3, minReady), "0:new,ready", "create web-1 of new"},
		{"a gap is filled before anything above is looked at", newSet(3), "0:new,ready 2:new", "create web-1 of new"},
		{"ordinals may begin elsewhere", newSet(2, startingAt(5)), "5:new,ready", "create web-6 of new"},
		{"nothing is left to do", newSet(2), "0:new,ready 1:new,ready", ""},
		{"a parallel set makes all at once", newSet(3, parallel), "1:new", "create web-0 of new; create web-2 of new"},

		{"a failed pod is deleted", newSet(2), "0:new,failed 1:new,ready", "delete web-0"},
		{"so is one that succeeded", newSet(2), "0:new,succeeded", "delete web-0"},
		{"one that is being deleted is waited for", newSet(2), "0:new,failed,going", ""},
		{"a parallel set does not wait for it", newSet(2, parallel), "0:new,failed", "delete web-0; create web-1 of new"},

		{"an ordered set scales down from the top", newSet(1), "0:new,ready 1:new,ready 2:new,ready", "retire web-2"},
		{"one by one", newSet(1), "0:new,ready 1:new,ready 2:new,ready,going", ""},
		{"not while a wished one is not available", newSet(1), "0:new 1:new,ready", ""},
		{"nor while a lower condemned one is unhealthy", newSet(1), "0:new,ready 1:new 2:new", ""},
		{"unless it is itself the unhealthy one", newSet(1), "0:new,ready 1:new,ready 2:new", "retire web-2"},
		{"a parallel set scales down at once", newSet(1, parallel), "0:new 1:new,going 2:new 3:new", "retire web-3; retire web-2"},
		{"what lies below the start is condemned too", newSet(1, startingAt(1)), "0:new,ready 1:new,ready", "retire web-0"},

		{"an update begins at the top", newSet(3), "0:old,ready 1:old,ready 2:old,ready", "retire web-2"},
		{"goes on when that is available", newSet(3), "0:old,ready 1:old,ready 2:new,ready", "retire web-1"},
		{"not before", newSet(3, minReady), "0:old,ready 1:old,ready 2:new,fresh", ""},
		{"and makes the pod anew of the update revision", newSet(3), "0:old,ready 1:old,ready", "create web-2 of new"},
		{"but of the current one below the partition", newSet(3, from(3)), "0:old,ready 1:old,ready", "create web-2 of old"},
		{"the partition bounds it", newSet(3, from(2)), "0:old,ready 1:old,ready 2:new,ready", ""},
		{"and counts from the start", newSet(2, startingAt(7), from(1)), "7:old,ready 8:old,ready", "retire web-8"},
		{"OnDelete waits for users to delete", newSet(2, onDelete), "0:old,ready 1:old,ready", ""},
		{"and then makes new ones", newSet(2, onDelete), "0:old,ready", "create web-1 of new"},
		{"scaling comes before updating", newSet(2), "0:old,ready 1:old,ready 2:old,ready", "retire web-2"},

		{"maxUnavailable lets several go", newSet(4, atMost("2")), "0:old,ready 1:old,ready 2:old,ready 3:old,ready", "retire web-3; retire web-2"},
		{"a percentage is rounded down", newSet(4, atMost("60%")), "0:old,ready 1:old,ready 2:old,ready 3:old,ready", "retire web-3; retire web-2"},
		{"to no less than one", newSet(3, atMost("10%")), "0:old,ready 1:old,ready 2:old,ready", "retire web-2"},
		{"an ordered set waits for all of them", newSet(3, atMost("2")), "0:old,ready 1:old,ready,going 2:new,ready", ""},
		{"a parallel one uses what is left", newSet(4, parallel, atMost("2")), "0:old,ready 1:old,ready 2:old,ready 3:new", "retire web-2"},
		{"and nothing when nothing is left", newSet(4, parallel, atMost("2")), "0:old,ready 1:old,ready 2:new 3:new", ""},
		{"its broken old pods go first, at no cost", newSet(4, parallel), "0:old 1:old,ready 2:old,ready 3:old,ready", "retire web-0"},
		{"even beyond the bound", newSet(3, parallel), "0:old 1:old 2:old", "retire web-2; retire web-1; retire web-0"},
		{"but not below the partition", newSet(3, parallel, from(2)), "0:old 1:old 2:old", "retire web-2"},
		{"pods that are made just now are not deleted", newSet(2, parallel, func(set *appsv1.StatefulSet) {
			set.Spec.UpdateStrategy.RollingUpdate, set.Status.CurrentReplicas = nil, 2
		}), "", "create web-0 of old; create web-1 of old"},

		{"a pod's labels are mended", newSet(1), "0:new,ready,anonymous", "update web-0"},
		{"its volumes too, with a claim", newSet(1, withClaims), "0:new,ready,unstored", "update web-0 +data-web-0"},
		{"an ordered set mends only what is available", newSet(1), "0:new,anonymous", ""},
		{"a name with a zero too many is not the ordinal's", newSet(2), "1:new,ready 01:new,ready 0:new,ready", ""},
		{"nor is one without an ordinal anybody's", newSet(1), "0:new,ready x:new 99999999999:new", ""},

		{"a set that is being deleted is left alone", newSet(3, deleted), "0:old 4:old", ""},
		{"Recreate is not enabled", newSet(3, recreate), "", "UnknownStrategy"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := decide(observed{tt.set, revisionNamed("old", "image:0"), revisionNamed("new", "image:1"), podsOf(tt.set, tt.pods), claimsThere(tt.set, tt.pods)}, now)
			if text := described(got); text != tt.want || (err != nil) != (tt.want == "UnknownStrategy") {
				t.Errorf("pods %s: %q, %v, want %q", tt.pods, text, err, tt.want)
			}
		})
	}
}

// claimsThere are the claims of all pods but those without.
func claimsThere(set *appsv1.StatefulSet, pods string) claims {
	out := claims{}
	for _, p := range podsOf(set, pods) {
		if !stored(set, p) {
			continue
		}
		for _, c := range newClaims(set, ordinal(p)) {
			own(set, p, c)
			out[c.Name] = c
		}
	}
	return out
}

func TestABrokenRevisionIsAnErrorWhereItIsNeeded(t *testing.T) {
	t.Parallel()
	broken := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: "new"}}
	set := newSet(1)
	if _, err := decide(observed{set, broken, broken, nil, nil}, now); err == nil {
		t.Error("a pod was made of nothing")
	}
	if _, err := decide(observed{set, broken, broken, podsOf(set, "0:new,ready"), nil}, now); err != nil {
		t.Errorf("nothing was to be made: %v", err)
	}
}

func TestANewPod(t *testing.T) {
	t.Parallel()
	set := newSet(1, withClaims)
	template := set.Spec.Template.DeepCopy()
	template.Spec.Volumes = []corev1.Volume{{Name: "data"}, {Name: "tmp"}}
	p := newPod(set, template, "web-5d", 4)
	want := map[string]string{"app": "web", "statefulset.kubernetes.io/pod-name": "web-4", "apps.kubernetes.io/pod-index": "4", "controller-revision-hash": "web-5d"}
	for label, value := range want {
		if p.Labels[label] != value {
			t.Errorf("label %s is %q, want %q", label, p.Labels[label], value)
		}
	}
	if p.Name != "web-4" || p.GenerateName != "web-" || p.Spec.Hostname != "web-4" || p.Spec.Subdomain != "svc" || !metav1.IsControlledBy(p, set) {
		t.Errorf("got %+v", p)
	}
	if v := p.Spec.Volumes; len(v) != 2 || v[0].PersistentVolumeClaim.ClaimName != "data-web-4" || v[1].Name != "tmp" {
		t.Errorf("volumes %+v", v)
	}
	if len(template.Labels) != 1 || template.Spec.Volumes[0].PersistentVolumeClaim != nil {
		t.Error("the template changed")
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	set := newSet(4, minReady)
	got := status(set, "old", "new", 2, podsOf(set, "0:old,ready 1:new,ready 2:new,fresh 3:old,ready,going x:old"), now)
	want := appsv1.StatefulSetStatus{
		ObservedGeneration: 3, Replicas: 4, ReadyReplicas: 4, AvailableReplicas: 3, CurrentReplicas: 1, UpdatedReplicas: 2,
		CurrentRevision: "old", UpdateRevision: "new", CollisionCount: new(int32(2)),
	}
	if got.String() != want.String() {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	done := status(newSet(2), "old", "new", 0, podsOf(set, "0:new,ready 1:new,ready"), now)
	if done.CurrentRevision != "new" || done.CurrentReplicas != 2 {
		t.Errorf("a complete update does not become current: %+v", done)
	}
	partial := status(newSet(2), "old", "new", 0, podsOf(set, "0:new,ready 1:new"), now)
	if partial.CurrentRevision != "old" || partial.CurrentReplicas != 0 {
		t.Errorf("an incomplete one does: %+v", partial)
	}
}
