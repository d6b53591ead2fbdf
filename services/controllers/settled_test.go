package controllers

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	rule "kubus.dev/proto/volume"
	"kubus.dev/services/controllers/internal/job"
	"kubus.dev/services/controllers/internal/pod"
)

// settled is how all must be in the end.
func (w *world) settled() error {
	for _, check := range []func() error{
		w.settledObjects, w.settledDeployments, w.settledSets, w.settledStateful, w.settledDaemons, w.settledJobs, w.settledServices, w.settledVolumes, w.settledOthers,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// settledObjects: nothing is on its way out, nothing has lost its owner or namespace.
func (w *world) settledObjects() error {
	return w.Each(func(resource string, o *metav1.PartialObjectMetadata) error {
		name := resource + " " + o.Namespace + "/" + o.Name
		if o.DeletionTimestamp != nil && !(resource == "persistentvolumeclaims" && w.used(o.Name)) {
			return fmt.Errorf("%s is still being deleted: %v", name, o.Finalizers)
		}
		if o.Namespace != "" && w.namespaces.Get("", o.Namespace) == nil {
			return fmt.Errorf("%s has no namespace", name)
		}
		for _, ref := range o.OwnerReferences {
			if !w.owners[ref.UID] {
				return fmt.Errorf("%s has lost its owner %s %s", name, ref.Kind, ref.Name)
			}
		}
		return nil
	})
}

// used tells whether a pod has the claim, which it keeps then though it was deleted.
func (w *world) used(claim string) bool {
	return slices.ContainsFunc(w.pods.List(), func(p *corev1.Pod) bool { return p.Spec.NodeName != "" && slices.Contains(rule.ClaimNames(p), claim) })
}

// podsOf are the pods of an owner that count, and of them the ready ones.
func (w *world) podsOf(owner types.UID) (pods []*corev1.Pod, ready int32) {
	for _, p := range w.pods.List() {
		if ref := metav1.GetControllerOf(p); ref != nil && ref.UID == owner && pod.Active(p) {
			pods = append(pods, p)
			if pod.Ready(p) {
				ready++
			}
		}
	}
	return pods, ready
}

func (w *world) settledDeployments() error {
	for _, d := range w.deployments.List() {
		n := *d.Spec.Replicas
		var pods int32
		for _, set := range w.sets.List() {
			if metav1.IsControlledBy(set, d) {
				pods += *set.Spec.Replicas
				if *set.Spec.Replicas > 0 && set.Spec.Template.Spec.Containers[0].Image != d.Spec.Template.Spec.Containers[0].Image {
					return fmt.Errorf("deployment %s/%s: the old set %s has %d", d.Namespace, d.Name, set.Name, *set.Spec.Replicas)
				}
			}
		}
		if s := d.Status; pods != n || s.Replicas != n || s.UpdatedReplicas != n || s.AvailableReplicas != n || s.ObservedGeneration != d.Generation {
			return fmt.Errorf("deployment %s/%s wants %d, its sets %d: %+v, generation %d", d.Namespace, d.Name, n, pods, s, d.Generation)
		}
	}
	return nil
}

func (w *world) settledSets() error {
	for _, set := range w.sets.List() {
		pods, ready := w.podsOf(set.UID)
		n := *set.Spec.Replicas
		if s := set.Status; int32(len(pods)) != n || ready != n || s.Replicas != n || s.ReadyReplicas != n || s.AvailableReplicas != n || s.ObservedGeneration != set.Generation {
			return fmt.Errorf("replica set %s/%s wants %d, has %d, ready %d: %+v, generation %d", set.Namespace, set.Name, n, len(pods), ready, s, set.Generation)
		}
	}
	for _, rc := range w.replicators.List() {
		pods, ready := w.podsOf(rc.UID)
		n := *rc.Spec.Replicas
		if s := rc.Status; int32(len(pods)) != n || ready != n || s.Replicas != n || s.ReadyReplicas != n || s.ObservedGeneration != rc.Generation {
			return fmt.Errorf("replication controller %s wants %d, has %d: %+v", rc.Name, n, len(pods), s)
		}
	}
	return nil
}

func (w *world) settledStateful() error {
	for _, set := range w.stateful.List() {
		pods, ready := w.podsOf(set.UID)
		if slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return p.Spec.NodeName == "" }) {
			continue // users deleted its claim: an ordered set waits for it, as upstream's does
		}
		n := *set.Spec.Replicas
		for i := range int(n) {
			name := fmt.Sprintf("%s-%d", set.Name, i)
			if !slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return p.Name == name && pod.Ready(p) }) {
				return fmt.Errorf("%s is not there", name)
			}
			if w.claims.Get(set.Namespace, "data-"+name) == nil {
				return fmt.Errorf("the claim of %s is not there", name)
			}
		}
		if s := set.Status; int32(len(pods)) != n || ready != n || s.Replicas != n || s.ReadyReplicas != n || s.ObservedGeneration != set.Generation || s.UpdateRevision != s.CurrentRevision {
			return fmt.Errorf("stateful set %s wants %d, has %d: %+v", set.Name, n, len(pods), s)
		}
	}
	return nil
}

func (w *world) settledDaemons() error {
	for _, set := range w.daemons.List() {
		pods, ready := w.podsOf(set.UID)
		n := int32(len(w.nodes.List()))
		places := map[string]bool{}
		for _, p := range pods {
			places[p.Spec.NodeName] = true
		}
		if s := set.Status; int32(len(pods)) != n || int32(len(places)) != n || ready != n || s.DesiredNumberScheduled != n || s.NumberReady != n || s.UpdatedNumberScheduled != n || s.ObservedGeneration != set.Generation {
			return fmt.Errorf("daemon set %s is on %v of %d nodes with %d pods: %+v", set.Name, slices.Sorted(maps.Keys(places)), n, len(pods), s)
		}
	}
	return nil
}

func (w *world) settledJobs() error {
	for _, each := range w.jobs.List() {
		if !job.Finished(each) {
			return fmt.Errorf("job %s has not ended: %+v", each.Name, each.Status)
		}
		s := each.Status
		if u := s.UncountedTerminatedPods; u != nil && len(u.Succeeded)+len(u.Failed) > 0 || s.Active > 0 {
			return fmt.Errorf("job %s has ended with %+v", each.Name, s)
		}
		if end := job.Outcome(each); end.Type == batchv1.JobComplete && s.Succeeded < *each.Spec.Completions {
			return fmt.Errorf("job %s is complete with %d of %d", each.Name, s.Succeeded, *each.Spec.Completions)
		}
	}
	for _, p := range w.pods.List() {
		if slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer) {
			return fmt.Errorf("pod %s is still tracked", p.Name)
		}
	}
	return nil
}

func (w *world) settledServices() error {
	for _, svc := range w.services.List() {
		want, got := map[string]bool{}, map[string]bool{}
		for _, p := range w.pods.List() {
			if p.Namespace == svc.Namespace && p.Labels["app"] == svc.Spec.Selector["app"] && pod.Ready(p) && pod.Active(p) {
				want[p.Name] = true
			}
		}
		for _, slice := range w.slices.List() {
			for _, e := range slice.Endpoints {
				if slice.Namespace == svc.Namespace && slice.Labels["kubernetes.io/service-name"] == svc.Name && e.TargetRef != nil && *e.Conditions.Ready {
					if got[e.TargetRef.Name] {
						return fmt.Errorf("service %s leads to %s twice", svc.Name, e.TargetRef.Name)
					}
					got[e.TargetRef.Name] = true
				}
			}
		}
		if !maps.Equal(want, got) {
			return fmt.Errorf("service %s leads to %v, should to %v", svc.Name, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
	}
	return nil
}

func (w *world) settledVolumes() error {
	folders := map[string]bool{}
	for _, pv := range w.volumes.List() {
		claim := w.claims.Get(pv.Spec.ClaimRef.Namespace, pv.Spec.ClaimRef.Name)
		if claim == nil || claim.UID != pv.Spec.ClaimRef.UID || claim.Spec.VolumeName != pv.Name || claim.Status.Phase != corev1.ClaimBound || pv.Status.Phase != corev1.VolumeBound {
			return fmt.Errorf("volume %s is %s, its claim %v", pv.Name, pv.Status.Phase, claim)
		}
		folders[strings.TrimPrefix(pv.Spec.Local.Path, "/")] = true
	}
	for _, claim := range w.claims.List() {
		if claim.Status.Phase != corev1.ClaimBound && claim.Annotations[rule.SelectedNode] != "" {
			return fmt.Errorf("claim %s is %s", claim.Name, claim.Status.Phase)
		}
	}
	for folder := range folders {
		if !w.disk[folder] {
			return fmt.Errorf("folder %s is not there", folder)
		}
	}
	for folder := range w.disk { // one whose claim went while the controllers were away stays
		_, volume, _ := strings.Cut(folder, "/")
		claimed := slices.ContainsFunc(w.claims.List(), func(c *corev1.PersistentVolumeClaim) bool { return volume == "pvc-"+string(c.UID) })
		if claimed && !folders[folder] {
			return fmt.Errorf("folder %s is left over", folder)
		}
	}
	return nil
}

func (w *world) settledOthers() error {
	for _, space := range w.namespaces.List() {
		if w.accounts.Get(space.Name, "default") == nil {
			return fmt.Errorf("namespace %s has no default account", space.Name)
		}
	}
	for _, node := range w.nodes.List() {
		if len(node.Spec.Taints) > 0 || node.Spec.PodCIDR == "" {
			return fmt.Errorf("node %s: taints %v, range %q", node.Name, node.Spec.Taints, node.Spec.PodCIDR)
		}
	}
	for _, q := range w.quotas.List() {
		var pods, jobs int64
		for _, p := range w.pods.List() {
			if p.Namespace == q.Namespace && !pod.Terminal(p) {
				pods++
			}
		}
		for _, j := range w.jobs.List() {
			if j.Namespace == q.Namespace {
				jobs++
			}
		}
		used := q.Status.Used
		if used.Pods().Value() != pods {
			return fmt.Errorf("the quota counts %v, there are %d pods", used, pods)
		}
		if counted := used["count/jobs.batch"]; counted.Value() != jobs {
			return fmt.Errorf("the quota counts %v, there are %d jobs", used, jobs)
		}
	}
	for _, b := range w.budgets.List() {
		var healthy, all int32
		for _, p := range w.pods.List() {
			if p.Namespace == b.Namespace && p.Labels["app"] == "web" {
				all++
				if pod.Ready(p) {
					healthy++
				}
			}
		}
		if owned := w.deployments.Get(ns, "web") != nil; owned && (b.Status.CurrentHealthy != healthy || b.Status.ExpectedPods != all || b.Status.DisruptionsAllowed != max(0, healthy-1)) {
			return fmt.Errorf("the budget says %+v, there are %d pods, %d healthy", b.Status, all, healthy)
		}
	}
	return nil
}
