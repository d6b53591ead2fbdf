package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// dice makes clusters. What belongs together is drawn from few values, so that it meets.
type dice struct {
	*rand.Rand
	serial int
}

func newDice(seed uint64) *dice { return &dice{Rand: rand.New(rand.NewPCG(seed, 37))} }

func (d *dice) one(of int) bool { return d.IntN(of) == 0 }

func pick[T any](d *dice, list ...T) T { return list[d.IntN(len(list))] }

// epoch is when the clusters live; whole seconds, as in the API.
var epoch = time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC)

func random(seed uint64) *Cluster {
	d := newDice(seed)
	c := &Cluster{}
	for i, name := range []string{"a", "b", "c"} {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("ns-" + name), Labels: map[string]string{"kubernetes.io/metadata.name": name}}}
		if i > 0 {
			ns.Labels["team"] = pick(d, "x", "y")
		}
		c.Namespaces = append(c.Namespaces, ns)
	}
	for i := range 1 + d.IntN(9) {
		c.Nodes = append(c.Nodes, d.node(i))
	}
	if d.one(3) {
		d.storage(c)
	}
	if d.one(4) {
		for i := range 1 + d.IntN(2) {
			c.Services = append(c.Services, d.service(i))
		}
	}
	for i := range d.IntN(3 * len(c.Nodes)) {
		p := d.pod(c, fmt.Sprintf("run%d", i))
		p.Spec.NodeName = pick(d, c.Nodes...).Name
		p.Status.Phase = corev1.PodRunning
		start := metav1.NewTime(epoch.Add(time.Duration(d.IntN(30)*100+i) * time.Second)) // each its own: ties are broken at random
		p.Status.StartTime = &start
		if d.one(12) {
			now := metav1.NewTime(epoch)
			p.DeletionTimestamp, p.Finalizers = &now, []string{"example.com/stay"}
			if d.one(2) {
				p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler})
			}
		}
		if d.one(20) {
			p.Status.Phase = pick(d, corev1.PodSucceeded, corev1.PodFailed)
		}
		if d.one(6) {
			d.resize(p)
		}
		c.Pods = append(c.Pods, p)
	}
	// Upstream takes terminal pods off its list before it sees them.
	running := slices.DeleteFunc(c.Pods, func(p *corev1.Pod) bool { return p.Status.Phase != corev1.PodRunning })
	c.Pods = nil
	for _, p := range running {
		if c.mayRun(p) {
			c.Pods = append(c.Pods, p)
		}
	}
	for i := range d.IntN(3) {
		p := d.pod(c, fmt.Sprintf("nominated%d", i))
		if len(claimsOf(p)) > 0 {
			continue
		}
		p.Status.NominatedNodeName = pick(d, c.Nodes...).Name
		c.Pods = append(c.Pods, p)
	}
	if d.one(3) {
		c.Budgets = append(c.Budgets, d.budget(0), d.budget(1))
	}
	for i := range 4 {
		p := d.pod(c, fmt.Sprintf("ask%d", i))
		if d.one(8) && len(claimsOf(p)) == 0 {
			p.Status.NominatedNodeName = pick(d, c.Nodes...).Name
		}
		c.Asks = append(c.Asks, p)
	}
	return c
}

// mayRun tells whether a pod can have come to run beside those that run, for upstream counts on
// that: its claims are there, and nobody has one of them that is for one pod, nor one of its
// ports of the node.
func (c *Cluster) mayRun(p *corev1.Pod) bool {
	if slices.ContainsFunc(c.Pods, func(o *corev1.Pod) bool { return o.Spec.NodeName == p.Spec.NodeName && collide(o, p) }) {
		return false
	}
	for _, name := range claimsOf(p) {
		i := slices.IndexFunc(c.Claims, func(claim *corev1.PersistentVolumeClaim) bool {
			return claim.Namespace == p.Namespace && claim.Name == name
		})
		if i < 0 {
			return false
		}
		if !slices.Contains(c.Claims[i].Spec.AccessModes, corev1.ReadWriteOncePod) {
			continue
		}
		if slices.ContainsFunc(c.Pods, func(o *corev1.Pod) bool { return o.Namespace == p.Namespace && slices.Contains(claimsOf(o), name) }) {
			return false
		}
	}
	return true
}

// collide tells whether two pods want the same port of their node.
func collide(a, b *corev1.Pod) bool {
	for _, x := range hostPorts(a) {
		for _, y := range hostPorts(b) {
			if x.HostPort == y.HostPort && x.Protocol == y.Protocol && (x.HostIP == y.HostIP || x.HostIP == "" || y.HostIP == "") {
				return true
			}
		}
	}
	return false
}

func hostPorts(p *corev1.Pod) []corev1.ContainerPort {
	var out []corev1.ContainerPort
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		out = append(out, c.Ports...)
	}
	return out
}

func claimsOf(p *corev1.Pod) []string {
	var out []string
	for _, v := range p.Spec.Volumes {
		if v.PersistentVolumeClaim != nil {
			out = append(out, v.PersistentVolumeClaim.ClaimName)
		}
	}
	return out
}

func (d *dice) node(i int) *corev1.Node {
	name := fmt.Sprintf("n%d", i)
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("node-" + name), Labels: map[string]string{corev1.LabelHostname: name}}}
	if !d.one(6) {
		n.Labels[corev1.LabelTopologyZone] = pick(d, "z1", "z2", "z3")
	}
	if !d.one(3) {
		n.Labels[corev1.LabelTopologyRegion] = pick(d, "r1", "r2")
	}
	if d.one(2) {
		n.Labels["disk"] = pick(d, "ssd", "hdd")
	}
	if d.one(2) {
		n.Labels["size"] = pick(d, "4", "8", "big")
	}
	if d.one(10) {
		delete(n.Labels, corev1.LabelHostname)
	}
	n.Spec.Unschedulable = d.one(12)
	if n.Spec.Unschedulable && d.one(2) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})
	}
	for d.one(4) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: pick(d, "t1", "t2"), Value: pick(d, "", "v"),
			Effect: pick(d, corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute, corev1.TaintEffectPreferNoSchedule)})
	}
	n.Status.Allocatable = corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(pick(d, int64(1000), 2000, 4000), resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(pick(d, int64(1), 2, 4)<<30, resource.BinarySI),
		corev1.ResourcePods:   *resource.NewQuantity(pick(d, int64(0), 2, 5, 110, 110, 110), resource.DecimalSI),
	}
	if d.one(2) {
		n.Status.Allocatable[corev1.ResourceEphemeralStorage] = resource.MustParse("2Gi")
	}
	if d.one(3) {
		n.Status.Allocatable["example.com/gpu"] = *resource.NewQuantity(int64(d.IntN(3)), resource.DecimalSI)
	}
	if d.one(5) {
		n.Status.Allocatable["hugepages-2Mi"] = resource.MustParse("64Mi")
	}
	n.Status.Capacity = n.Status.Allocatable
	for d.one(3) {
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{Names: []string{pick(d, "web:latest", "db:1", "tool:2")}, SizeBytes: int64(50+d.IntN(900)) << 20})
	}
	if d.one(3) {
		n.Status.DeclaredFeatures = []string{"UserNamespacesHostNetworkSupport"}
	}
	return n
}

func (d *dice) pod(c *Cluster, name string) *corev1.Pod {
	d.serial++
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: name, Namespace: pick(d, "a", "a", "b", "c"), UID: types.UID(fmt.Sprintf("pod-%d", d.serial)), Generation: 1,
		CreationTimestamp: metav1.NewTime(epoch), Labels: map[string]string{},
	}}
	if !d.one(4) {
		p.Labels["app"] = pick(d, "web", "db", "tool")
	}
	if d.one(3) {
		p.Labels["tier"] = pick(d, "front", "back")
	}
	if d.one(3) {
		d.owned(c, p)
	}
	s := &p.Spec
	s.SchedulerName = corev1.DefaultSchedulerName
	priority := pick(d, int32(0), 0, 10, 100, -5)
	s.Priority = &priority
	if d.one(8) {
		never := corev1.PreemptNever
		s.PreemptionPolicy = &never
	}
	d.containers(p)
	if d.one(8) {
		s.Overhead = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}
	}
	if d.one(12) {
		s.Resources = &corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("700m"), corev1.ResourceMemory: resource.MustParse("512Mi")}}
	}
	for d.one(3) {
		s.Tolerations = append(s.Tolerations, d.toleration())
	}
	if d.one(5) {
		s.NodeSelector = map[string]string{pick(d, "disk", corev1.LabelTopologyZone, corev1.LabelHostname): pick(d, "ssd", "z1", "n0")}
	}
	if d.one(12) {
		hostUsers := false
		s.HostUsers, s.HostNetwork = &hostUsers, true
	}
	d.affinity(p)
	for d.one(4) {
		s.TopologySpreadConstraints = append(s.TopologySpreadConstraints, d.spread(p, len(s.TopologySpreadConstraints)))
	}
	d.volumes(c, p)
	return p
}

// owned makes the pod one of a ReplicaSet's, which chooses its pods as those of Deployments do.
func (d *dice) owned(c *Cluster, p *corev1.Pod) {
	name, yes := pick(d, "rs1", "rs2"), true
	own := map[string]string{"pod-template-hash": p.Namespace + name}
	p.Labels = map[string]string{"app": map[string]string{"rs1": "web", "rs2": "db"}[name]} // one template's
	p.Labels["pod-template-hash"] = own["pod-template-hash"]
	uid := types.UID(p.Namespace + name)
	p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: name, UID: uid, Controller: &yes}}
	for _, s := range c.Sets {
		if s.UID == uid {
			return
		}
	}
	c.Sets = append(c.Sets, &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: p.Namespace, UID: uid},
		Spec: appsv1.ReplicaSetSpec{Selector: &metav1.LabelSelector{MatchLabels: own}}})
}

func (d *dice) containers(p *corev1.Pod) {
	for i := range 1 + d.IntN(2) {
		p.Spec.Containers = append(p.Spec.Containers, d.container(fmt.Sprintf("c%d", i)))
	}
	if d.one(5) {
		p.Spec.InitContainers = append(p.Spec.InitContainers, d.container("init"))
	}
	if d.one(6) {
		always := corev1.ContainerRestartPolicyAlways
		side := d.container("side")
		side.RestartPolicy = &always
		p.Spec.InitContainers = append(p.Spec.InitContainers, side)
	}
}

func (d *dice) container(name string) corev1.Container {
	c := corev1.Container{Name: name, Image: pick(d, "web", "db:1", "tool:2", "none")}
	r := corev1.ResourceList{}
	if !d.one(4) {
		r[corev1.ResourceCPU] = *resource.NewMilliQuantity(pick(d, int64(0), 100, 300, 700, 1500), resource.DecimalSI)
	}
	if d.one(2) {
		r[corev1.ResourceMemory] = *resource.NewQuantity(pick(d, int64(64), 256, 900)<<20, resource.BinarySI)
	}
	if d.one(8) {
		r[corev1.ResourceEphemeralStorage] = resource.MustParse("700Mi")
	}
	if d.one(10) {
		r["example.com/gpu"] = resource.MustParse("1")
	}
	if d.one(20) {
		r["hugepages-2Mi"] = resource.MustParse("32Mi")
	}
	c.Resources.Requests = r
	if d.one(6) {
		c.Ports = append(c.Ports, corev1.ContainerPort{ContainerPort: 80, HostPort: pick(d, int32(80), 443), HostIP: pick(d, "", "127.0.0.1", "10.0.0.1"), Protocol: pick(d, corev1.ProtocolTCP, corev1.ProtocolUDP)})
	}
	return c
}

func (d *dice) toleration() corev1.Toleration {
	return corev1.Toleration{
		Key: pick(d, "t1", "t2", "", corev1.TaintNodeUnschedulable), Operator: pick(d, corev1.TolerationOpExists, corev1.TolerationOpEqual), Value: pick(d, "", "v"),
		Effect: pick(d, "", corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute, corev1.TaintEffectPreferNoSchedule),
	}
}

func (d *dice) affinity(p *corev1.Pod) {
	a := &corev1.Affinity{}
	if d.one(5) {
		a.NodeAffinity = &corev1.NodeAffinity{}
		if d.one(2) {
			s := &corev1.NodeSelector{}
			for range 1 + d.IntN(2) {
				s.NodeSelectorTerms = append(s.NodeSelectorTerms, d.nodeTerm())
			}
			a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = s
		}
		if d.one(3) { // as a DaemonSet's pods, or nearly so
			a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = d.byName()
		}
		if d.one(2) {
			a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution = []corev1.PreferredSchedulingTerm{{Weight: 1 + d.Int32N(100), Preference: d.nodeTerm()}}
		}
	}
	if d.one(5) {
		a.PodAffinity = &corev1.PodAffinity{}
		for d.one(2) {
			a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution = append(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, d.podTerm())
		}
		for d.one(2) {
			a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution = append(a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution, corev1.WeightedPodAffinityTerm{Weight: 1 + d.Int32N(100), PodAffinityTerm: d.podTerm()})
		}
	}
	if d.one(4) {
		a.PodAntiAffinity = &corev1.PodAntiAffinity{}
		for d.one(2) {
			a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution = append(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, d.podTerm())
		}
		for d.one(2) {
			a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution = append(a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution, corev1.WeightedPodAffinityTerm{Weight: 1 + d.Int32N(100), PodAffinityTerm: d.podTerm()})
		}
	}
	if a.NodeAffinity != nil || a.PodAffinity != nil || a.PodAntiAffinity != nil {
		p.Spec.Affinity = a
	}
}

// byName demands a node by its name, in one term or in each of several, with labels or without.
func (d *dice) byName() *corev1.NodeSelector {
	s := &corev1.NodeSelector{}
	for range pick(d, 1, 1, 1, 2) {
		t := corev1.NodeSelectorTerm{}
		if d.one(3) {
			t = d.nodeTerm()
			t.MatchFields = nil
		}
		for range pick(d, 1, 1, 1, 1, 2) {
			t.MatchFields = append(t.MatchFields, corev1.NodeSelectorRequirement{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{pick(d, "n0", "n1", "n2", "n3", "gone")}})
		}
		s.NodeSelectorTerms = append(s.NodeSelectorTerms, t)
	}
	return s
}

func (d *dice) nodeTerm() corev1.NodeSelectorTerm {
	t := corev1.NodeSelectorTerm{}
	if d.one(4) {
		t.MatchFields = []corev1.NodeSelectorRequirement{{Key: metav1.ObjectNameField, Operator: pick(d, corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn), Values: []string{pick(d, "n0", "n1", "n2", "gone")}}}
		if d.one(2) {
			return t
		}
	}
	switch d.IntN(4) {
	case 0:
		t.MatchExpressions = []corev1.NodeSelectorRequirement{{Key: "size", Operator: pick(d, corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt), Values: []string{"5"}}}
	case 1:
		t.MatchExpressions = []corev1.NodeSelectorRequirement{{Key: pick(d, "disk", "size"), Operator: pick(d, corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist)}}
	default:
		t.MatchExpressions = []corev1.NodeSelectorRequirement{{Key: pick(d, "disk", corev1.LabelTopologyZone), Operator: pick(d, corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn), Values: []string{pick(d, "ssd", "z1"), pick(d, "hdd", "z2")}}}
	}
	return t
}

func (d *dice) selector() *metav1.LabelSelector {
	switch d.IntN(8) {
	case 0:
		return &metav1.LabelSelector{}
	case 1:
		return nil
	case 2:
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "tier", Operator: pick(d, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist)}}}
	case 3:
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: pick(d, metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn), Values: []string{"web", "db"}}}}
	}
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": pick(d, "web", "db", "tool")}}
}

func (d *dice) key() string {
	return pick(d, corev1.LabelTopologyZone, corev1.LabelHostname, corev1.LabelTopologyRegion, "disk")
}

func (d *dice) podTerm() corev1.PodAffinityTerm {
	t := corev1.PodAffinityTerm{LabelSelector: d.selector(), TopologyKey: d.key()}
	if d.one(4) {
		t.Namespaces = []string{pick(d, "a", "b")}
	}
	if d.one(4) {
		t.NamespaceSelector = pick(d, &metav1.LabelSelector{}, &metav1.LabelSelector{MatchLabels: map[string]string{"team": "x"}})
	}
	return t
}

func (d *dice) spread(p *corev1.Pod, serial int) corev1.TopologySpreadConstraint {
	c := corev1.TopologySpreadConstraint{MaxSkew: 1 + d.Int32N(2), TopologyKey: d.key(), LabelSelector: d.selector(),
		WhenUnsatisfiable: pick(d, corev1.DoNotSchedule, corev1.ScheduleAnyway)}
	if c.WhenUnsatisfiable == corev1.DoNotSchedule && d.one(4) {
		least := 1 + d.Int32N(4)
		c.MinDomains = &least
	}
	if d.one(3) {
		policy := pick(d, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)
		c.NodeAffinityPolicy = &policy
	}
	if d.one(3) {
		policy := pick(d, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)
		c.NodeTaintsPolicy = &policy
	}
	if c.LabelSelector != nil && d.one(4) {
		c.MatchLabelKeys = []string{"tier"}
	}
	return c
}

func (d *dice) resize(p *corev1.Pod) {
	p.Generation = 2
	have := corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(pick(d, int64(100), 900), resource.DecimalSI), corev1.ResourceMemory: resource.MustParse("300Mi")}
	status := corev1.ContainerStatus{Name: "c0", AllocatedResources: have, Resources: &corev1.ResourceRequirements{Requests: have}}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{status}
	switch d.IntN(3) {
	case 0:
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: pick(d, corev1.PodReasonInfeasible, corev1.PodReasonDeferred)})
	case 1:
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodResizeInProgress, Status: corev1.ConditionTrue})
	}
}

func (d *dice) service(i int) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("s%d", i), Namespace: pick(d, "a", "b")},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app": pick(d, "web", "db")}}}
}

func (d *dice) budget(i int) *policyv1.PodDisruptionBudget {
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("b%d", i), Namespace: pick(d, "a", "b")}}
	one := intstr.FromInt32(1)
	b.Spec.MaxUnavailable, b.Spec.Selector = &one, d.selector()
	b.Status.DisruptionsAllowed = d.Int32N(2)
	return b
}
