package daemonset

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	scheduling "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// comparisonOperators is alpha and off in v1.37, as in the scheduler.
const comparisonOperators = false

// placement tells which nodes a set's pods belong on.
type placement struct {
	only        string // spec.template.spec.nodeName
	tolerations []corev1.Toleration
	affinity    nodeaffinity.RequiredNodeAffinity
}

func placementOf(set *appsv1.DaemonSet) *placement {
	spec := &set.Spec.Template.Spec
	return &placement{spec.NodeName, tolerations(spec), nodeaffinity.NewRequiredNodeAffinity(spec.NodeSelector, spec.Affinity)}
}

// on tells whether a node should get a pod of the set, and whether one that runs
// there may stay: a taint that only keeps pods from being scheduled lets it.
func (p *placement) on(node *corev1.Node) (run, stay bool) {
	if p.only != "" && p.only != node.Name {
		return false, false
	}
	if fits, _ := p.affinity.Match(node); !fits { // what cannot be parsed matches nothing
		return false, false
	}
	if p.repelled(node, corev1.TaintEffectNoExecute) {
		return false, false
	}
	return !p.repelled(node, corev1.TaintEffectNoSchedule), true
}

func (p *placement) repelled(node *corev1.Node, effect corev1.TaintEffect) bool {
	_, repelled := scheduling.FindMatchingUntoleratedTaint(klog.Logger{}, node.Spec.Taints, p.tolerations,
		func(t *corev1.Taint) bool { return t.Effect == effect }, comparisonOperators)
	return repelled
}

// own are what every daemon pod tolerates without a limit of time: a node in trouble
// is where it is wanted.
var own = []corev1.Toleration{
	{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
	{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
	{Key: corev1.TaintNodeDiskPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
	{Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
	{Key: corev1.TaintNodePIDPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
	{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
}

// ofHostNetwork is what those tolerate beside that need no network but the node's.
var ofHostNetwork = corev1.Toleration{Key: corev1.TaintNodeNetworkUnavailable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}

// tolerations are the template's and the set's own.
func tolerations(spec *corev1.PodSpec) []corev1.Toleration {
	all := spec.Tolerations
	for i := range own {
		all = tolerating(all, &own[i])
	}
	if spec.HostNetwork {
		all = tolerating(all, &ofHostNetwork)
	}
	return all
}

// tolerating puts a toleration in the place of those that differ in time only, or at the end.
func tolerating(all []corev1.Toleration, wanted *corev1.Toleration) []corev1.Toleration {
	out := make([]corev1.Toleration, 0, len(all)+1)
	found := false
	for i := range all {
		switch {
		case !wanted.MatchToleration(&all[i]):
			out = append(out, all[i])
		case equality.Semantic.DeepEqual(*wanted, all[i]):
			return all
		default:
			out, found = append(out, *wanted), true
		}
	}
	if !found {
		out = append(out, *wanted)
	}
	return out
}

// pin has the scheduler put a pod on one node and no other. The template's own
// node affinity has chosen that node already.
func pin(p *corev1.Pod, node string) {
	if p.Spec.Affinity == nil {
		p.Spec.Affinity = &corev1.Affinity{}
	}
	if p.Spec.Affinity.NodeAffinity == nil {
		p.Spec.Affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
			{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}},
		}}},
	}
}

// target is the node a pod is bound or pinned to; "" for none.
func target(p *corev1.Pod) string {
	if p.Spec.NodeName != "" {
		return p.Spec.NodeName
	}
	if p.Spec.Affinity == nil || p.Spec.Affinity.NodeAffinity == nil || p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return ""
	}
	for _, term := range p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, field := range term.MatchFields {
			if field.Key == metav1.ObjectNameField && field.Operator == corev1.NodeSelectorOpIn {
				if len(field.Values) == 1 {
					return field.Values[0]
				}
				return ""
			}
		}
	}
	return ""
}
