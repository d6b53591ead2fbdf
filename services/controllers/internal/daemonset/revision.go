package daemonset

import (
	"bytes"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"kubus.dev/services/controllers/internal/history"
)

const hashLabel = appsv1.DefaultDaemonSetUniqueLabelKey

// lineage is what a set's revisions are to it, and what of them is to be written.
type lineage struct {
	Current    *appsv1.ControllerRevision // of the present template, as it is to be
	Create     bool                       // it does not exist yet
	Update     []*appsv1.ControllerRevision
	Duplicates []*appsv1.ControllerRevision // of the same template, to be deleted
	Old        []*appsv1.ControllerRevision
}

// trace finds the revision of the present template among those of the set, or drafts it.
func trace(set *appsv1.DaemonSet, revisions []*appsv1.ControllerRevision) (lineage, error) {
	data, err := history.Data(&set.Spec.Template)
	if err != nil {
		return lineage{}, err
	}
	var l lineage
	changed := map[*appsv1.ControllerRevision]bool{}
	var same []*appsv1.ControllerRevision
	for _, r := range revisions {
		if _, labelled := r.Labels[hashLabel]; !labelled { // made by a release before the label; its name is as unique
			r = r.DeepCopy()
			if r.Labels == nil {
				r.Labels = map[string]string{}
			}
			r.Labels[hashLabel] = r.Name
			changed[r] = true
		}
		if bytes.Equal(r.Data.Raw, data) {
			same = append(same, r)
		} else {
			l.Old = append(l.Old, r)
		}
	}
	number := history.Next(l.Old)
	if len(same) == 0 {
		l.Current, l.Create = draftRevision(set, data, number), true
	} else {
		history.Sort(same)
		l.Current, l.Duplicates = same[len(same)-1], same[:len(same)-1]
		if l.Current.Revision < number { // back to an earlier template
			if !changed[l.Current] {
				l.Current = l.Current.DeepCopy()
			}
			l.Current.Revision = number
			changed[l.Current] = true
		}
	}
	for _, r := range append([]*appsv1.ControllerRevision{l.Current}, l.Old...) {
		if changed[r] {
			l.Update = append(l.Update, r)
		}
	}
	return l, nil
}

func draftRevision(set *appsv1.DaemonSet, data []byte, number int64) *appsv1.ControllerRevision {
	hash := history.TemplateHash(&set.Spec.Template, set.Status.CollisionCount)
	labels := map[string]string{}
	maps.Copy(labels, set.Spec.Template.Labels)
	labels[hashLabel] = hash
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: set.Namespace, Name: set.Name + "-" + hash, Labels: labels, Annotations: maps.Clone(set.Annotations),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, kind)},
		},
		Data:     runtime.RawExtension{Raw: data},
		Revision: number,
	}
}

// mislabelled are the pods that bear a duplicate's hash: they are of the present
// template too. (Upstream relabels pods of other templates with them.)
func (l *lineage) mislabelled(pods []*corev1.Pod) (out []*corev1.Pod) {
	duplicate := map[string]bool{}
	for _, r := range l.Duplicates {
		duplicate[r.Labels[hashLabel]] = true
	}
	for _, p := range pods {
		if hash := p.Labels[hashLabel]; duplicate[hash] && hash != l.Current.Labels[hashLabel] {
			out = append(out, p)
		}
	}
	return out
}

// superfluous are the old revisions beyond the history limit that no pod uses.
func (l *lineage) superfluous(set *appsv1.DaemonSet, pods []*corev1.Pod) []*appsv1.ControllerRevision {
	if set.Spec.RevisionHistoryLimit == nil {
		return nil
	}
	live := map[string]bool{}
	for _, p := range pods {
		live[p.Labels[hashLabel]] = true
	}
	return history.Oldest(l.Old, len(l.Old)-int(*set.Spec.RevisionHistoryLimit), func(r *appsv1.ControllerRevision) bool {
		return live[r.Labels[hashLabel]]
	})
}
