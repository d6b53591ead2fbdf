package controllers

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/message"
	rule "kubus.dev/proto/volume"
	"kubus.dev/services/controllers/internal/pod"
	"kubus.dev/services/controllers/internal/write"
)

// folder is what the nodes' agents answer to the volume binder.
func (w *world) folder(subject string, data []byte) ([]byte, error) {
	node := strings.TrimSuffix(strings.TrimPrefix(subject, "node."), ".volume")
	var request message.VolumeRequest
	if err := proto.Unmarshal(data, &request); err != nil {
		return nil, err
	}
	if w.silent[node] {
		return nil, fmt.Errorf("%s does not answer", node)
	}
	name := node + "/" + request.Name
	if request.Verb == message.VolumeRequest_REMOVE {
		if err := w.mayRemove(request.Name); err != nil {
			w.Break("folder %s: %v", name, err)
		}
		delete(w.disk, name)
	} else {
		w.disk[name] = true
	}
	return proto.Marshal(&message.VolumeResponse{Path: "/" + name})
}

// schedule binds pods to nodes, and claims to where their pods will be.
func (w *world) schedule() {
	var nodes []string
	for _, node := range w.nodes.List() {
		if len(node.Spec.Taints) == 0 {
			nodes = append(nodes, node.Name)
		}
	}
	for _, p := range w.pods.List() {
		if p.Spec.NodeName != "" || p.DeletionTimestamp != nil || pod.Terminal(p) {
			continue
		}
		if node := w.nodeFor(p, nodes); node != "" {
			w.Tell("%s/%s goes to %s", p.Namespace, p.Name, node)
			p.Spec.NodeName = node
			w.pods.Put(p)
		}
	}
}

func (w *world) nodeFor(p *corev1.Pod, nodes []string) string {
	if a := p.Spec.Affinity; a != nil { // of a DaemonSet
		return a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchFields[0].Values[0]
	}
	if len(nodes) == 0 {
		return ""
	}
	chosen := nodes[w.Rand.IntN(len(nodes))]
	for _, name := range rule.ClaimNames(p) {
		claim := w.claims.Get(p.Namespace, name)
		switch {
		case claim == nil:
			return ""
		case claim.Spec.VolumeName == "" || claim.Status.Phase != corev1.ClaimBound:
			if claim.Annotations[rule.SelectedNode] == "" && claim.DeletionTimestamp == nil {
				metav1.SetMetaDataAnnotation(&claim.ObjectMeta, rule.SelectedNode, chosen)
				w.claims.Put(claim)
			}
			return ""
		}
		pv := w.volumes.Get("", claim.Spec.VolumeName)
		if pv == nil {
			return ""
		}
		chosen = pv.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values[0]
		if !slices.Contains(nodes, chosen) {
			return ""
		}
	}
	return chosen
}

// runSome brings some pods a step further.
func (w *world) runSome() {
	for _, p := range w.pods.List() {
		if w.Rand.IntN(3) == 0 {
			w.run(p, w.quiet)
		}
	}
}

// run is what a pod's node does next.
func (w *world) run(p *corev1.Pod, quiet bool) {
	node := p.Spec.NodeName
	if node == "" || w.silent[node] {
		return
	}
	switch {
	case p.DeletionTimestamp != nil && !pod.Terminal(p):
		w.put(ended(p, corev1.PodFailed, 143))
	case p.DeletionTimestamp != nil:
		w.removed(p)
	case pod.Terminal(p):
	case p.Status.Phase == corev1.PodPending:
		w.put(running(p, w.Rand.IntN(250)))
	case p.Spec.RestartPolicy == corev1.RestartPolicyNever && (quiet || w.Rand.IntN(3) > 0):
		w.put(ended(p, corev1.PodSucceeded, 0))
	case p.Spec.RestartPolicy == corev1.RestartPolicyNever:
		w.put(ended(p, corev1.PodFailed, 1))
	case !pod.Ready(p):
		w.put(readiness(p, corev1.ConditionTrue))
	case quiet:
	case w.Rand.IntN(12) == 0:
		w.put(readiness(p, corev1.ConditionFalse))
	case w.Rand.IntN(30) == 0:
		w.put(ended(p, corev1.PodFailed, 137))
	}
}

func (w *world) put(p *corev1.Pod) { w.pods.Put(p) }

// removed is the end of a pod: the node's last word.
func (w *world) removed(p *corev1.Pod) {
	request, err := write.Delete(write.Path("", "v1", p.Namespace, "pods", p.Name), &metav1.DeleteOptions{GracePeriodSeconds: new(int64), Preconditions: write.OnlyUID(p.UID)})
	w.must(request, err)
}

// must is a write that cannot be refused but by what came first.
func (w *world) must(request apiclient.Request, err error) {
	if err != nil {
		w.Break("%v", err)
		return
	}
	if err := w.Write(request); err != nil {
		w.Tell("refused: %v", err)
	}
}

func running(p *corev1.Pod, ip int) *corev1.Pod {
	p.Status.Phase = corev1.PodRunning
	p.Status.PodIP = fmt.Sprintf("10.244.0.%d", ip)
	p.Status.PodIPs = []corev1.PodIP{{IP: p.Status.PodIP}}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", ContainerID: "runc://" + string(p.UID), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	return readiness(p, corev1.ConditionTrue)
}

func readiness(p *corev1.Pod, is corev1.ConditionStatus) *corev1.Pod {
	p.Status.Conditions = slices.DeleteFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady })
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: is, LastTransitionTime: metav1.Now()})
	return p
}

func ended(p *corev1.Pod, phase corev1.PodPhase, code int32) *corev1.Pod {
	p.Status.Phase = phase
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", ContainerID: "runc://" + string(p.UID), State: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: metav1.Now()},
	}}}
	return readiness(p, corev1.ConditionFalse)
}

// user wants something else.
func (w *world) user() {
	image := func(t *corev1.PodTemplateSpec) { t.Spec.Containers[0].Image = fmt.Sprint("image:", w.Rand.IntN(4)) }
	switch w.Rand.IntN(12) {
	case 0, 1, 2:
		if d := w.deployments.Get(ns, "web"); d != nil && d.DeletionTimestamp == nil {
			w.Tell("a new image for web")
			image(&d.Spec.Template)
			w.deployments.Put(d)
		}
	case 3:
		if set := w.stateful.Get(ns, "db"); set != nil && set.DeletionTimestamp == nil {
			if w.Rand.IntN(2) == 0 {
				set.Spec.Replicas = new(int32(w.Rand.IntN(4)))
			} else {
				image(&set.Spec.Template)
			}
			w.stateful.Put(set)
		}
	case 4:
		if set := w.daemons.Get(ns, "agent"); set != nil {
			image(&set.Spec.Template)
			w.daemons.Put(set)
		}
	case 5:
		if job := w.jobs.Get(ns, "work"); job != nil && job.DeletionTimestamp == nil {
			job.Spec.Suspend = new(!*job.Spec.Suspend)
			w.jobs.Put(job)
		}
	case 6:
		w.delete("", "v1", "", "namespaces", "temp", metav1.DeletePropagationBackground)
	default:
		if !w.quiet {
			w.meddle()
		}
	}
}

// meddle is what makes bounds impossible to keep.
func (w *world) meddle() {
	pods := w.pods.List()
	if len(pods) == 0 {
		return
	}
	p := pods[w.Rand.IntN(len(pods))]
	switch w.Rand.IntN(9) {
	case 0:
		w.delete("", "v1", p.Namespace, "pods", p.Name, "")
	case 1:
		if p.DeletionTimestamp == nil && metav1.GetControllerOf(p) != nil && p.Labels["app"] != "db" { // a name that is taken stays taken
			w.Tell("%s is somebody else's now", p.Name)
			p.Labels["app"] = "nobody"
			w.pods.Put(p)
		}
	case 2:
		w.Tell("an orphan for solo")
		t := template("solo", corev1.RestartPolicyAlways)
		w.pods.Put(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprint("orphan-", w.Changes()), Labels: t.Labels}, Spec: t.Spec})
	case 3:
		if d := w.deployments.Get(ns, "web"); d != nil && d.DeletionTimestamp == nil {
			d.Spec.Replicas = new(int32(w.Rand.IntN(6)))
			w.Tell("web has %d", *d.Spec.Replicas)
			w.deployments.Put(d)
		}
	case 4:
		if set := w.sets.Get(ns, "solo"); set != nil && set.DeletionTimestamp == nil {
			set.Spec.Replicas = new(int32(w.Rand.IntN(5)))
			w.sets.Put(set)
		}
	case 5:
		policies := []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan}
		policy := policies[w.Rand.IntN(3)]
		switch w.Rand.IntN(5) {
		case 0:
			w.delete("apps", "v1", ns, "deployments", "web", policy)
		case 1:
			w.delete("apps", "v1", ns, "replicasets", "solo", policy)
		case 2:
			w.delete("apps", "v1", ns, "statefulsets", "db", policy)
		case 3:
			w.delete("batch", "v1", ns, "jobs", "work", policy)
		case 4:
			w.delete("", "v1", ns, "replicationcontrollers", "old", policy)
		}
	case 6:
		claims := w.claims.List()
		if len(claims) > 0 {
			w.delete("", "v1", ns, "persistentvolumeclaims", claims[w.Rand.IntN(len(claims))].Name, "")
		}
	case 7:
		if w.deployments.Get(ns, "web") == nil && w.services.Get(ns, "web") == nil {
			w.drawDeployment()
		}
	case 8:
		w.services.Remove(service("web", ""))
	}
}

func (w *world) delete(group, version, namespace, resource, name string, policy metav1.DeletionPropagation) {
	w.Tell("a user deletes %s %s %s", resource, name, policy)
	options := &metav1.DeleteOptions{}
	if policy != "" {
		options.PropagationPolicy = &policy
	}
	w.must(write.Delete(write.Path(group, version, namespace, resource, name), options))
}
