package node

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pulse is what is known of a node's life.
type pulse struct {
	Last   time.Time // the last sign of life, or when we began to listen
	Halted bool      // no node is ready in any zone: more likely we are cut off than they
}

// verdict is what the node object should say.
type verdict struct {
	Conditions []corev1.NodeCondition // nil: as they are
	Taints     []corev1.Taint         // all of them, but for Evict
	Retaint    bool                   // Taints differ from what the node has
	Evict      *corev1.Taint          // to be added when the node's zone lets it through; nil: none
	Labels     map[string]string      // to be set
	Lost       bool                   // Ready goes from True to Unknown by this verdict
	Again      time.Duration          // until the next look; zero for none
}

// decide judges a node: silent for longer than the grace, all its conditions become
// Unknown; its taints follow its conditions.
func decide(node *corev1.Node, p pulse, grace, startupGrace time.Duration, now time.Time) verdict {
	var v verdict
	ready := conditionOf(node.Status.Conditions, corev1.NodeReady)
	if ready == nil {
		grace = startupGrace
	}
	conditions := node.Status.Conditions
	silent := now.Sub(p.Last)
	switch {
	case silent < grace:
		v.Again = grace - silent
	case ready == nil || ready.Status != corev1.ConditionUnknown:
		conditions = unknown(node, now)
		v.Conditions = conditions
		v.Lost = ready != nil && ready.Status == corev1.ConditionTrue
	}
	v.Taints, v.Evict, v.Retaint = taints(node, conditions, p.Halted, now)
	v.Labels = labels(node)
	return v
}

func conditionOf(all []corev1.NodeCondition, of corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range all {
		if all[i].Type == of {
			return &all[i]
		}
	}
	return nil
}

// unknown is the node's conditions when nothing is heard of it.
func unknown(node *corev1.Node, now time.Time) []corev1.NodeCondition {
	next := append([]corev1.NodeCondition(nil), node.Status.Conditions...)
	for _, of := range []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		c := conditionOf(next, of)
		switch {
		case c == nil:
			next = append(next, corev1.NodeCondition{
				Type: of, Status: corev1.ConditionUnknown, Reason: "NodeStatusNeverUpdated", Message: "Kubelet never posted node status.",
				LastHeartbeatTime: node.CreationTimestamp, LastTransitionTime: metav1.NewTime(now),
			})
		case c.Status != corev1.ConditionUnknown:
			c.Status, c.Reason, c.Message = corev1.ConditionUnknown, "NodeStatusUnknown", "Kubelet stopped posting node status."
			c.LastTransitionTime = metav1.NewTime(now)
		}
	}
	return next
}

// conditionTaints maps a condition's bad states to the taint they cause.
var conditionTaints = map[corev1.NodeConditionType]map[corev1.ConditionStatus]string{
	corev1.NodeReady:              {corev1.ConditionFalse: corev1.TaintNodeNotReady, corev1.ConditionUnknown: corev1.TaintNodeUnreachable},
	corev1.NodeMemoryPressure:     {corev1.ConditionTrue: corev1.TaintNodeMemoryPressure},
	corev1.NodeDiskPressure:       {corev1.ConditionTrue: corev1.TaintNodeDiskPressure},
	corev1.NodeNetworkUnavailable: {corev1.ConditionTrue: corev1.TaintNodeNetworkUnavailable},
	corev1.NodePIDPressure:        {corev1.ConditionTrue: corev1.TaintNodePIDPressure},
}

// ours are the taints this controller sets and takes away.
func ours(t *corev1.Taint) bool {
	switch t.Effect {
	case corev1.TaintEffectNoSchedule:
		switch t.Key {
		case corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable, corev1.TaintNodeUnschedulable, corev1.TaintNodeNetworkUnavailable,
			corev1.TaintNodeMemoryPressure, corev1.TaintNodeDiskPressure, corev1.TaintNodePIDPressure:
			return true
		}
	case corev1.TaintEffectNoExecute:
		return t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable
	}
	return false
}

type taintID struct {
	key    string
	effect corev1.TaintEffect
}

// taints keeps foreign taints and the times of those that stay. A node that never
// told its condition gets no readiness taint and keeps what it has. evict is a
// NoExecute taint for a node that has none of ours yet; one that has is given another
// at once, as its pods are leaving already.
func taints(node *corev1.Node, conditions []corev1.NodeCondition, halted bool, now time.Time) (next []corev1.Taint, evict *corev1.Taint, changed bool) {
	wanted := wantedTaints(node, conditions, halted)
	told := conditionOf(conditions, corev1.NodeReady) != nil
	present := map[taintID]bool{}
	evicting := false
	for i := range node.Spec.Taints {
		t := &node.Spec.Taints[i]
		id := taintID{t.Key, t.Effect}
		evicting = evicting || ours(t) && t.Effect == corev1.TaintEffectNoExecute
		keep := !ours(t) || contains(wanted, id) || !told && (t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable)
		if !keep || present[id] {
			changed = true
			continue
		}
		present[id] = true
		next = append(next, *t)
	}
	for _, id := range wanted {
		if present[id] {
			continue
		}
		at := metav1.NewTime(now)
		t := corev1.Taint{Key: id.key, Effect: id.effect, TimeAdded: &at}
		if id.effect == corev1.TaintEffectNoExecute && !evicting {
			evict = &t
			continue
		}
		next, changed = append(next, t), true
	}
	return next, evict, changed
}

func wantedTaints(node *corev1.Node, conditions []corev1.NodeCondition, halted bool) (wanted []taintID) {
	for i := range conditions {
		c := &conditions[i]
		key := conditionTaints[c.Type][c.Status]
		if key == "" || contains(wanted, taintID{key, corev1.TaintEffectNoSchedule}) {
			continue
		}
		wanted = append(wanted, taintID{key, corev1.TaintEffectNoSchedule})
		if c.Type == corev1.NodeReady && !halted {
			wanted = append(wanted, taintID{key, corev1.TaintEffectNoExecute})
		}
	}
	if node.Spec.Unschedulable {
		wanted = append(wanted, taintID{corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule})
	}
	return wanted
}

func contains(all []taintID, id taintID) bool {
	for _, each := range all {
		if each == id {
			return true
		}
	}
	return false
}

// labels are the old names of the operating system and architecture labels.
func labels(node *corev1.Node) map[string]string {
	set := map[string]string{}
	for stable, beta := range map[string]string{corev1.LabelOSStable: "beta.kubernetes.io/os", corev1.LabelArchStable: "beta.kubernetes.io/arch"} {
		if value := node.Labels[stable]; value != "" && node.Labels[beta] != value {
			set[beta] = value
		}
	}
	return set
}
