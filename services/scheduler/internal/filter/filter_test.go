package filter

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/services/scheduler/internal/node"
	"kubus.dev/services/scheduler/internal/shape"
)

func aNode(change ...func(*corev1.Node)) *node.Node {
	obj := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{
		corev1.LabelHostname: "n1", "disk": "ssd", "size": "8",
	}}}
	obj.Status.Allocatable = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("4Gi"),
		corev1.ResourcePods: resource.MustParse("3"), "example.com/gpu": resource.MustParse("1"),
		corev1.ResourceEphemeralStorage: resource.MustParse("10Gi"),
	}
	for _, c := range change {
		c(obj)
	}
	n := &node.Node{Name: obj.Name}
	n.Set(obj, nil, node.NewClasses())
	return n
}

func aPod(requests corev1.ResourceList, change ...func(*corev1.PodSpec)) *shape.Shape {
	p := &corev1.Pod{}
	p.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: requests}}}
	for _, c := range change {
		c(&p.Spec)
	}
	return shape.New(p)
}

func list(pairs ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		l[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return l
}

func taint(key string, effect corev1.TaintEffect) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: "v", Effect: effect})
	}
}

func tolerate(t corev1.Toleration) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) { s.Tolerations = append(s.Tolerations, t) }
}

func disk(name string, readOnly bool) func(*corev1.PodSpec) {
	return volume(corev1.VolumeSource{GCEPersistentDisk: &corev1.GCEPersistentDiskVolumeSource{PDName: name, ReadOnly: readOnly}})
}

func ebs(id string) func(*corev1.PodSpec) {
	return volume(corev1.VolumeSource{AWSElasticBlockStore: &corev1.AWSElasticBlockStoreVolumeSource{VolumeID: id, ReadOnly: true}})
}

func rbd(monitors ...string) func(*corev1.PodSpec) {
	return volume(corev1.VolumeSource{RBD: &corev1.RBDVolumeSource{CephMonitors: monitors, RBDPool: "p", RBDImage: "i"}})
}

func volume(source corev1.VolumeSource) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) { s.Volumes = append(s.Volumes, corev1.Volume{Name: "v", VolumeSource: source}) }
}

func userNamespaces(s *corev1.PodSpec) {
	no := false
	s.HostNetwork, s.HostUsers = true, &no
}

func affinity(terms ...corev1.NodeSelectorTerm) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) {
		s.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms}}}
	}
}

func expression(key string, op corev1.NodeSelectorOperator, values ...string) corev1.NodeSelectorTerm {
	return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: op, Values: values}}}
}

func field(values ...string) corev1.NodeSelectorTerm {
	return corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: values}}}
}

func hostPort(ip string, port int32, protocol corev1.Protocol) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) {
		s.Containers[0].Ports = append(s.Containers[0].Ports, corev1.ContainerPort{HostIP: ip, HostPort: port, Protocol: protocol})
	}
}

func TestNode(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	tests := []struct {
		name  string
		node  *node.Node
		taken []*shape.Shape
		pod   *shape.Shape
		want  Reason
	}{
		{"an empty pod fits", aNode(), nil, aPod(nil), OK},
		{"a node that does not exist takes none", &node.Node{Name: "n1"}, nil, aPod(nil), Absent},

		{"a cordoned node takes none", aNode(func(n *corev1.Node) { n.Spec.Unschedulable = true }), nil, aPod(nil), Unschedulable},
		{"a cordoned node takes who tolerates the cordon", aNode(func(n *corev1.Node) { n.Spec.Unschedulable = true }), nil,
			aPod(nil, tolerate(corev1.Toleration{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists})), OK},

		{"NoSchedule keeps out", aNode(taint("k", corev1.TaintEffectNoSchedule)), nil, aPod(nil), UntoleratedTaint},
		{"NoExecute keeps out", aNode(taint("k", corev1.TaintEffectNoExecute)), nil, aPod(nil), UntoleratedTaint},
		{"PreferNoSchedule does not keep out", aNode(taint("k", corev1.TaintEffectPreferNoSchedule)), nil, aPod(nil), OK},
		{"a toleration of the same value lets in", aNode(taint("k", corev1.TaintEffectNoSchedule)), nil,
			aPod(nil, tolerate(corev1.Toleration{Key: "k", Value: "v", Effect: corev1.TaintEffectNoSchedule})), OK},
		{"a toleration of another value does not", aNode(taint("k", corev1.TaintEffectNoSchedule)), nil,
			aPod(nil, tolerate(corev1.Toleration{Key: "k", Value: "w"})), UntoleratedTaint},
		{"a toleration of another effect does not", aNode(taint("k", corev1.TaintEffectNoExecute)), nil,
			aPod(nil, tolerate(corev1.Toleration{Key: "k", Value: "v", Effect: corev1.TaintEffectNoSchedule})), UntoleratedTaint},
		{"an empty key that exists tolerates everything", aNode(taint("k", corev1.TaintEffectNoSchedule), taint("l", corev1.TaintEffectNoExecute)), nil,
			aPod(nil, tolerate(corev1.Toleration{Operator: corev1.TolerationOpExists})), OK},

		{"nodeSelector that matches", aNode(), nil, aPod(nil, func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"disk": "ssd"} }), OK},
		{"nodeSelector that does not", aNode(), nil, aPod(nil, func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"disk": "hdd"} }), NodeSelector},
		{"one term of several is enough", aNode(), nil, aPod(nil, affinity(expression("disk", corev1.NodeSelectorOpIn, "hdd"), expression("disk", corev1.NodeSelectorOpExists))), OK},
		{"nodeSelector and affinity must both match", aNode(), nil, aPod(nil, affinity(expression("disk", corev1.NodeSelectorOpExists)),
			func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"disk": "hdd"} }), NodeSelector},
		{"Gt compares numbers", aNode(), nil, aPod(nil, affinity(expression("size", corev1.NodeSelectorOpGt, "7"))), OK},
		{"Lt compares numbers", aNode(), nil, aPod(nil, affinity(expression("size", corev1.NodeSelectorOpLt, "8"))), NodeSelector},
		{"NotIn matches an absent label", aNode(), nil, aPod(nil, affinity(expression("gone", corev1.NodeSelectorOpNotIn, "x"))), OK},
		{"an empty term matches nothing", aNode(), nil, aPod(nil, affinity(corev1.NodeSelectorTerm{})), NodeSelector},
		{"no terms match nothing", aNode(), nil, aPod(nil, affinity()), NodeSelector},
		{"matchFields by name", aNode(), nil, aPod(nil, affinity(field("n1"))), OK},
		{"matchFields by another name", aNode(), nil, aPod(nil, affinity(field("n2"))), Elsewhere},

		{"a taken host port keeps out", aNode(), []*shape.Shape{aPod(nil, hostPort("", 80, "TCP"))}, aPod(nil, hostPort("", 80, "")), HostPorts},
		{"another protocol does not", aNode(), []*shape.Shape{aPod(nil, hostPort("", 80, "TCP"))}, aPod(nil, hostPort("", 80, "UDP")), OK},
		{"another address does not", aNode(), []*shape.Shape{aPod(nil, hostPort("10.0.0.1", 80, "TCP"))}, aPod(nil, hostPort("10.0.0.2", 80, "TCP")), OK},
		{"every address is this one too", aNode(), []*shape.Shape{aPod(nil, hostPort("0.0.0.0", 80, "TCP"))}, aPod(nil, hostPort("10.0.0.2", 80, "TCP")), HostPorts},

		{"a disk that somebody writes to has one user on a node", aNode(), []*shape.Shape{aPod(nil, disk("d", false))}, aPod(nil, disk("d", true)), Disks},
		{"readers share a disk", aNode(), []*shape.Shape{aPod(nil, disk("d", true))}, aPod(nil, disk("d", true)), OK},
		{"another disk is no matter", aNode(), []*shape.Shape{aPod(nil, disk("d", false))}, aPod(nil, disk("e", false)), OK},
		{"the same EBS volume is not even shared by readers", aNode(), []*shape.Shape{aPod(nil, ebs("v"))}, aPod(nil, ebs("v")), Disks},
		{"RBD images are the same if they share a monitor", aNode(), []*shape.Shape{aPod(nil, rbd("a", "b"))}, aPod(nil, rbd("b", "c")), Disks},
		{"and not if they do not", aNode(), []*shape.Shape{aPod(nil, rbd("a", "b"))}, aPod(nil, rbd("c")), OK},
		{"a feature that the node does not declare", aNode(), nil, aPod(nil, userNamespaces), Features},
		{"a feature that the node declares", aNode(func(n *corev1.Node) { n.Status.DeclaredFeatures = []string{"UserNamespacesHostNetworkSupport"} }), nil, aPod(nil, userNamespaces), OK},

		{"exactly what is left fits", aNode(), []*shape.Shape{aPod(list("cpu", "1500m"))}, aPod(list("cpu", "500m", "memory", "4Gi")), OK},
		{"a millicore too much does not", aNode(), []*shape.Shape{aPod(list("cpu", "1500m"))}, aPod(list("cpu", "501m")), Resources},
		{"memory too much does not", aNode(), nil, aPod(list("memory", "4097Mi")), Resources},
		{"who asks for no memory fits on a node that is over", aNode(), []*shape.Shape{aPod(list("memory", "8Gi"))}, aPod(list("cpu", "1")), OK},
		{"ephemeral storage counts", aNode(), nil, aPod(list("ephemeral-storage", "11Gi")), Resources},
		{"an extended resource that is free fits", aNode(), nil, aPod(list("example.com/gpu", "1")), OK},
		{"an extended resource that is taken does not", aNode(), []*shape.Shape{aPod(list("example.com/gpu", "1"))}, aPod(list("example.com/gpu", "1")), Resources},
		{"a resource that the node has not does not", aNode(), nil, aPod(list("example.com/fpga", "1")), Resources},
		{"the number of pods is limited", aNode(), []*shape.Shape{aPod(nil), aPod(nil), aPod(nil)}, aPod(nil), Resources},
		{"the biggest init container counts", aNode(), nil, aPod(list("cpu", "1"), func(s *corev1.PodSpec) {
			s.InitContainers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: list("cpu", "3")}}}
		}), Resources},
		{"a sidecar adds to the containers", aNode(), nil, aPod(list("cpu", "1500m"), func(s *corev1.PodSpec) {
			s.InitContainers = []corev1.Container{{RestartPolicy: &always, Resources: corev1.ResourceRequirements{Requests: list("cpu", "600m")}}}
		}), Resources},
		{"overhead adds", aNode(), nil, aPod(list("cpu", "1800m"), func(s *corev1.PodSpec) { s.Overhead = list("cpu", "300m") }), Resources},
		{"pod level requests take the place of the containers'", aNode(), nil, aPod(list("cpu", "1"), func(s *corev1.PodSpec) {
			s.Resources = &corev1.ResourceRequirements{Requests: list("cpu", "3")}
		}), Resources},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, s := range tt.taken {
				tt.node.Take(s)
			}
			if got := Node(tt.pod, tt.node); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			for _, s := range tt.taken {
				tt.node.Give(s)
			}
			if !tt.node.Used.Zero() || tt.node.Pods != 0 || len(tt.node.Ports)+len(tt.node.Disks) != 0 {
				t.Errorf("after giving everything back the node still counts %+v, %d pods, ports %v", tt.node.Used, tt.node.Pods, tt.node.Ports)
			}
		})
	}
}

func TestDiagnosis(t *testing.T) {
	full := aNode()
	full.Take(aPod(list("cpu", "2")))
	tests := []struct {
		name  string
		pod   *shape.Shape
		nodes []*node.Node
		want  string
	}{
		{"no nodes", aPod(nil), nil, "no nodes available to schedule pods"},
		{"several reasons are counted and sorted", aPod(list("cpu", "1", "memory", "8Gi")),
			[]*node.Node{full, aNode(taint("k", corev1.TaintEffectNoSchedule)), aNode()},
			"0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), 2 Insufficient memory. preemption: none."},
		{"a pod whose claims are not known", aPod(nil, func(s *corev1.PodSpec) {
			s.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}}}
		}), []*node.Node{aNode()}, `0/1 nodes are available: the pod's claims are not known yet. preemption: none.`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := NewDiagnosis(tt.pod)
			for _, n := range tt.nodes {
				d.Add(Refuse(Node(tt.pod, n), tt.pod, n))
			}
			if got := d.Message("none."); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestWhatCanBeHelpedByTakingPodsAway(t *testing.T) {
	full := aNode()
	full.Take(aPod(list("cpu", "2"), hostPort("", 80, "")))
	tests := []struct {
		name string
		pod  *shape.Shape
		node *node.Node
		want bool
	}{
		{"a full node", aPod(list("cpu", "1")), full, true},
		{"a taken host port", aPod(nil, hostPort("", 80, "")), full, true},
		{"a node that is too small", aPod(list("cpu", "3")), full, false},
		{"a node without the resource", aPod(list("example.com/fpga", "1")), full, false},
		{"a taint", aPod(nil), aNode(taint("k", corev1.TaintEffectNoSchedule)), false},
	}
	for _, tt := range tests {
		if r := Refuse(Node(tt.pod, tt.node), tt.pod, tt.node); r.Reason == OK || r.Helpless == tt.want {
			t.Errorf("%s: %+v, want helped %v", tt.name, r, tt.want)
		}
	}
}

func TestTally(t *testing.T) {
	tally := NewTally(4)
	tally.Add("Insufficient cpu", "Insufficient memory")
	tally.Add("No preemption victims found for incoming pod")
	const want = "0/4 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
	if got := tally.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
