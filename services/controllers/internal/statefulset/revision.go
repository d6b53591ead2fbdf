package statefulset

import (
	"bytes"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"kubus.dev/services/controllers/internal/history"
)

// choice is what the history makes of the set's template.
type choice struct {
	Current *appsv1.ControllerRevision // nil: the same as Update
	Update  *appsv1.ControllerRevision // as it is to be written
	Write   verb                       // create, update (of the number) or none
}

// choose finds the revision of the present template among those of the set, or
// drafts it.
func choose(set *appsv1.StatefulSet, revisions []*appsv1.ControllerRevision) (choice, error) {
	data, err := history.Data(&set.Spec.Template)
	if err != nil {
		return choice{}, err
	}
	draft := draftRevision(set, data, history.Next(revisions))
	var c choice
	var last, equal *appsv1.ControllerRevision
	sorted := append([]*appsv1.ControllerRevision(nil), revisions...)
	history.Sort(sorted)
	for _, r := range sorted {
		last = r
		if history.Same(r, draft) {
			equal = r
		}
		if r.Name == set.Status.CurrentRevision {
			c.Current = r
		}
	}
	switch {
	case equal != nil && equal == last:
		c.Update = equal
	case equal != nil: // back to an earlier one
		c.Update, c.Write = equal.DeepCopy(), update
		c.Update.Revision = draft.Revision
	case last != nil && reencoded(last, data):
		c.Update = last
	default:
		c.Update, c.Write = draft, create
	}
	return c, nil
}

// reencoded: the revision is that of the data, written by a release that encoded
// templates otherwise. (What it left out because it had no default for it is not
// told from a change; upstream knows the defaults here.)
func reencoded(r *appsv1.ControllerRevision, data []byte) bool {
	template, err := history.Template(r)
	if err != nil {
		return false
	}
	again, err := history.Data(template)
	return err == nil && bytes.Equal(again, data)
}

func draftRevision(set *appsv1.StatefulSet, data []byte, number int64) *appsv1.ControllerRevision {
	hash := history.Hash(data, collisions(set))
	labels := map[string]string{}
	maps.Copy(labels, set.Spec.Template.Labels)
	labels[history.HashLabel] = hash
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: set.Namespace, Name: history.Name(set.Name, hash),
			Labels: labels, Annotations: maps.Clone(set.Annotations),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, kind)},
		},
		Data:     runtime.RawExtension{Raw: data},
		Revision: number,
	}
}

func collisions(set *appsv1.StatefulSet) int32 {
	if set.Status.CollisionCount == nil {
		return 0
	}
	return *set.Status.CollisionCount
}

// superfluous are the revisions beyond the history limit: the oldest of those that
// neither the set nor a pod uses.
func superfluous(set *appsv1.StatefulSet, revisions []*appsv1.ControllerRevision, pods []*corev1.Pod, used ...string) []*appsv1.ControllerRevision {
	if set.Spec.RevisionHistoryLimit == nil || *set.Spec.RevisionHistoryLimit < 0 {
		return nil
	}
	live := map[string]bool{}
	for _, name := range used {
		live[name] = true
	}
	for _, p := range pods {
		live[revisionOf(p)] = true
	}
	unused := 0
	for _, r := range revisions {
		if !live[r.Name] {
			unused++
		}
	}
	return history.Oldest(revisions, unused-int(*set.Spec.RevisionHistoryLimit), func(r *appsv1.ControllerRevision) bool { return live[r.Name] })
}
