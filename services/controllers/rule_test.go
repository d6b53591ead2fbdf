package controllers

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/pod"
	"kubus.dev/services/controllers/internal/sim"
)

// rules are what must hold after every write, and what they remember for it.
type rules struct {
	owners map[types.UID]bool   // all objects that there are
	waits  map[types.UID]bool   // of them, those that wait for their dependents to be deleted
	wishes map[types.UID][]wish // how many pods an owner was to have, and until when
	there  map[types.UID]*corev1.Pod
	served map[types.UID]bool            // deployments that had all their pods once
	ended  map[types.UID]corev1.PodPhase // tracked pods of jobs, by how they ended
	of     map[types.UID][]types.UID     // the pods that a job had
}

type wish struct {
	pods  int
	until time.Time // zero: still
}

func newRules() rules {
	return rules{
		owners: map[types.UID]bool{}, waits: map[types.UID]bool{}, wishes: map[types.UID][]wish{}, there: map[types.UID]*corev1.Pod{},
		served: map[types.UID]bool{}, ended: map[types.UID]corev1.PodPhase{}, of: map[types.UID][]types.UID{},
	}
}

// lag is for how long somebody may decide by what was wished before.
const lag = time.Minute

// judge is called for each change.
func (w *world) judge(c sim.Change) error {
	old, new := sim.As[metav1.PartialObjectMetadata](c)
	w.note(old, new)
	if err := w.judgeDeletion(c, old, new); err != nil {
		return err
	}
	switch c.Resource {
	case "pods":
		old, new := sim.As[corev1.Pod](c)
		return w.judgePod(c.By, old, new)
	case "nodes":
		old, new := sim.As[corev1.Node](c)
		return w.judgeNode(c.By, old, new)
	case "persistentvolumeclaims":
		_, new := sim.As[corev1.PersistentVolumeClaim](c)
		return w.judgeClaim(new)
	case "persistentvolumes":
		old, new := sim.As[corev1.PersistentVolume](c)
		return w.judgeVolume(old, new)
	case "replicasets":
		_, new := sim.As[appsv1.ReplicaSet](c)
		if new != nil {
			w.wish(new.UID, int(*new.Spec.Replicas))
		}
		return w.judgeRoll()
	case "replicationcontrollers":
		_, new := sim.As[corev1.ReplicationController](c)
		if new != nil {
			w.wish(new.UID, int(*new.Spec.Replicas))
		}
	case "jobs":
		old, new := sim.As[batchv1.Job](c)
		return w.judgeJob(c.By, old, new)
	}
	return nil
}

func (w *world) note(old, new *metav1.PartialObjectMetadata) {
	if new == nil {
		delete(w.owners, old.UID)
		delete(w.waits, old.UID)
		return
	}
	w.owners[new.UID] = true
	w.waits[new.UID] = new.DeletionTimestamp != nil && slices.Contains(new.Finalizers, metav1.FinalizerDeleteDependents)
}

func (w *world) wish(owner types.UID, pods int) {
	all := w.wishes[owner]
	if n := len(all); n > 0 {
		if all[n-1].pods == pods {
			return
		}
		all[n-1].until = time.Now()
	}
	w.wishes[owner] = append(all, wish{pods: pods})
}

// most is the largest number that somebody may think an owner is to have.
func (w *world) most(owner types.UID) (most int) {
	for _, each := range w.wishes[owner] {
		if each.until.IsZero() || time.Since(each.until) < lag {
			most = max(most, each.pods)
		}
	}
	return most
}

// judgeDeletion: what has a living owner is not garbage, and what is in no dying
// namespace does not go with one.
func (w *world) judgeDeletion(c sim.Change, old, new *metav1.PartialObjectMetadata) error {
	if old == nil || old.DeletionTimestamp != nil || new != nil && new.DeletionTimestamp == nil {
		return nil
	}
	switch c.By {
	case "generic-garbage-collector":
		if len(old.OwnerReferences) == 0 {
			return fmt.Errorf("deleted as garbage without an owner")
		}
		for _, ref := range old.OwnerReferences {
			if w.owners[ref.UID] && !w.waits[ref.UID] {
				return fmt.Errorf("deleted as garbage while its owner %s %s lives", ref.Kind, ref.Name)
			}
		}
	case "namespace-controller":
		if space := w.namespaces.Get("", old.Namespace); c.Resource != "namespaces" && space != nil && space.DeletionTimestamp == nil {
			return fmt.Errorf("deleted with a namespace that lives")
		}
	}
	return nil
}

func (w *world) judgePod(by string, old, new *corev1.Pod) error {
	if new == nil {
		delete(w.there, old.UID)
	} else {
		w.there[new.UID] = new
	}
	if old != nil && new != nil {
		w.noteEnd(old)
		for i := range old.Status.ContainerStatuses {
			if by != "" && (i >= len(new.Status.ContainerStatuses) || new.Status.ContainerStatuses[i].ContainerID != old.Status.ContainerStatuses[i].ContainerID) {
				return fmt.Errorf("its status forgets its containers")
			}
		}
	}
	if new != nil {
		w.noteEnd(new)
	}
	if old == nil && by != "" {
		if err := w.judgeNew(new); err != nil {
			return err
		}
	}
	return w.judgeRoll()
}

func (w *world) noteEnd(p *corev1.Pod) {
	if owner := metav1.GetControllerOf(p); owner != nil && owner.Kind == "Job" && !slices.Contains(w.of[owner.UID], p.UID) {
		w.of[owner.UID] = append(w.of[owner.UID], p.UID)
	}
	if pod.Terminal(p) && slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer) {
		w.ended[p.UID] = p.Status.Phase
	}
}

// judgeNew: never one pod too many.
func (w *world) judgeNew(p *corev1.Pod) error {
	owner := metav1.GetControllerOf(p)
	if owner == nil {
		return nil
	}
	same, here := 0, 0
	for _, each := range w.there {
		if ref := metav1.GetControllerOf(each); ref != nil && ref.UID == owner.UID && pod.Active(each) {
			same++
			if p.Spec.Affinity != nil && equality.Semantic.DeepEqual(each.Spec.Affinity, p.Spec.Affinity) {
				here++
			}
		}
	}
	switch owner.Kind {
	case "ReplicaSet", "ReplicationController", "Job":
		if most := w.most(owner.UID); same > most {
			return fmt.Errorf("%s %s has %d pods, at most %d may be", owner.Kind, owner.Name, same, most)
		}
	case "DaemonSet":
		most := 1
		if set := w.daemons.Get(p.Namespace, owner.Name); set != nil && set.Spec.UpdateStrategy.RollingUpdate.MaxSurge.IntVal > 0 {
			most = 2
		}
		if here > most {
			return fmt.Errorf("DaemonSet %s has %d pods on a node", owner.Name, here)
		}
	}
	return nil
}

// judgeRoll: in a quiet play a rolling update keeps its bounds.
func (w *world) judgeRoll() error {
	if !w.strict {
		return nil
	}
	d := w.deployments.Get(ns, "web")
	if d == nil || d.Spec.Strategy.RollingUpdate == nil {
		return nil
	}
	wished, available := 0, 0
	for _, set := range w.sets.List() {
		if metav1.IsControlledBy(set, d) { // upstream counts what sets are to have
			wished += int(*set.Spec.Replicas)
		}
	}
	for _, p := range w.there {
		if p.Namespace == ns && p.Labels["app"] == "web" && pod.Active(p) && pod.Available(p, d.Spec.MinReadySeconds, time.Now()) {
			available++
		}
	}
	want, bounds := int(*d.Spec.Replicas), d.Spec.Strategy.RollingUpdate
	if most := want + bounds.MaxSurge.IntValue(); wished > most {
		return fmt.Errorf("web's sets are to have %d pods, at most %d may be", wished, most)
	}
	if d.Status.AvailableReplicas >= *d.Spec.Replicas { // what nobody knew to be available counts for none
		w.served[d.UID] = true
	}
	if least := want - bounds.MaxUnavailable.IntValue(); w.served[d.UID] && available < least {
		return fmt.Errorf("web has %d available pods, at least %d must be", available, least)
	}
	return nil
}

// judgeNode: a node that is heard of is not lost, whoever has just come to lead.
func (w *world) judgeNode(by string, old, new *corev1.Node) error {
	if by == "" || old == nil || new == nil {
		return nil
	}
	unreachable := func(n *corev1.Node) bool {
		return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeUnreachable })
	}
	if back := time.Since(w.revived[new.Name]); !unreachable(old) && unreachable(new) && !w.silent[new.Name] && back > 30*time.Second {
		return fmt.Errorf("lost, though it was heard of every few seconds for %v", back)
	}
	return nil
}

// judgeClaim: no two claims have one volume.
func (w *world) judgeClaim(claim *corev1.PersistentVolumeClaim) error {
	if claim == nil || claim.Spec.VolumeName == "" {
		return nil
	}
	for _, other := range w.claims.List() {
		if other.UID != claim.UID && other.Spec.VolumeName == claim.Spec.VolumeName {
			return fmt.Errorf("has the volume of %s", other.Name)
		}
	}
	return nil
}

// judgeVolume: a volume does not go from one claim to another without being free.
func (w *world) judgeVolume(old, new *corev1.PersistentVolume) error {
	if old == nil || new == nil || old.Spec.ClaimRef == nil || new.Spec.ClaimRef == nil {
		return nil
	}
	if before, after := old.Spec.ClaimRef.UID, new.Spec.ClaimRef.UID; before != "" && before != after {
		return fmt.Errorf("goes from claim %s to %s", before, after)
	}
	return nil
}

// mayRemove: the folder of a volume that is bound stays.
func (w *world) mayRemove(volume string) error {
	for _, claim := range w.claims.List() {
		if claim.Spec.VolumeName == volume {
			return fmt.Errorf("removed while claim %s has it", claim.Name)
		}
	}
	return nil
}

// judgeJob: no pod is counted that did not end so, none twice, and counts do not go back.
func (w *world) judgeJob(by string, old, new *batchv1.Job) error {
	if new == nil {
		return nil
	}
	most := int(*new.Spec.Parallelism)
	if *new.Spec.Suspend {
		most = 0
	}
	w.wish(new.UID, most)
	if old == nil || by == "" {
		return nil
	}
	count := func(s *batchv1.JobStatus) (succeeded, failed int) {
		if s.UncountedTerminatedPods != nil {
			succeeded, failed = len(s.UncountedTerminatedPods.Succeeded), len(s.UncountedTerminatedPods.Failed)
		}
		return succeeded + int(s.Succeeded), failed + int(s.Failed)
	}
	succeeded, failed := count(&new.Status)
	did := map[corev1.PodPhase]int{}
	for _, uid := range w.of[new.UID] {
		did[w.ended[uid]]++
	}
	switch {
	case succeeded > did[corev1.PodSucceeded]:
		return fmt.Errorf("%d succeeded, %d did", succeeded, did[corev1.PodSucceeded])
	case failed > did[corev1.PodFailed]+did[""]:
		return fmt.Errorf("%d failed, %d did and %d went otherwise", failed, did[corev1.PodFailed], did[""])
	case new.Status.Succeeded < old.Status.Succeeded || new.Status.Failed < old.Status.Failed:
		return fmt.Errorf("counts go back from %+v to %+v", old.Status, new.Status)
	}
	return nil
}
