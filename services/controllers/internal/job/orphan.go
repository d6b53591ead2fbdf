package job

import (
	"context"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/mirror"
)

// orphanage is the pods of a job that may be gone or finished; owner "" is those of
// nobody in the namespace.
type orphanage struct {
	namespace string
	owner     types.UID
}

// orphaned wakes for a tracked pod that no job seems to count.
func (l *live) orphaned(_, new *corev1.Pod, add func(orphanage)) {
	if new == nil || !tracked(new) {
		return
	}
	owner := metav1.GetControllerOfNoCopy(new)
	switch {
	case owner == nil:
		add(orphanage{namespace: new.Namespace})
	case !l.mayCount(new, owner):
		add(orphanage{new.Namespace, owner.UID})
	}
}

// countsNoMore wakes for a job that counts its pods no more.
func countsNoMore(old, new *batchv1.Job, add func(orphanage)) {
	switch {
	case new == nil:
		add(orphanage{old.Namespace, old.UID})
	case Finished(new):
		add(orphanage{new.Namespace, new.UID})
	}
}

// mayCount is false of the pod of a job that is finished or gone. Pods of other owners,
// and of jobs that another controller manages, are none of our business.
func (l *live) mayCount(p *corev1.Pod, owner *metav1.OwnerReference) bool {
	if owner.Kind != l.world.Jobs.GVK().Kind || owner.APIVersion != batchv1.SchemeGroupVersion.String() {
		return true
	}
	job := l.world.Jobs.Get(p.Namespace, owner.Name)
	return job != nil && job.UID == owner.UID && (foreign(job) || !Finished(job))
}

// freeOrphans takes the finalizer from them, so that they can be deleted.
func (l *live) freeOrphans(ctx context.Context, key orphanage) (time.Duration, error) {
	var found []*corev1.Pod
	if key.owner == "" {
		found = l.world.Pods.ByIndex(mirror.ByOrphanage, key.namespace)
	} else {
		found = l.world.Pods.ByIndex(mirror.ByController, string(key.owner))
	}
	if err := l.world.Jobs.CatchUp(ctx, l.views); err != nil { // a job that is not seen yet counts, too
		return 0, err
	}
	var free []*corev1.Pod
	for _, p := range found {
		if owner := metav1.GetControllerOfNoCopy(p); tracked(p) && (owner == nil || !l.mayCount(p, owner)) {
			free = append(free, p)
		}
	}
	return 0, l.release(ctx, free)
}
