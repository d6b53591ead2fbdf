package check

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func cluster() *Checker {
	c := New()
	c.Namespace(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns"}}, false)
	for _, name := range []string{"a", "b"} {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"zone": name, "pool": "p"}}}
		n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourcePods: resource.MustParse("2")}
		c.Node(n, false)
	}
	return c
}

func pod(name, cpu string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name), Labels: map[string]string{"app": "web"}}}
	p.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}}}
	for _, f := range change {
		f(p)
	}
	return p
}

func bind(c *Checker, p *corev1.Pod, node string) {
	c.Pod(p, false)
	bound := p.DeepCopy()
	bound.Spec.NodeName = node
	c.Pod(bound, false)
}

var web = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}

func anti(p *corev1.Pod) {
	p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{LabelSelector: web, TopologyKey: "zone"}}}}
}

func near(p *corev1.Pod) {
	p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{LabelSelector: web, TopologyKey: "zone"}}}}
}

func even(p *corev1.Pod) {
	p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: "zone", WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: web}}
}

func port(p *corev1.Pod) {
	p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80}}
}

func sole(p *corev1.Pod) {
	p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
}

func TestEachRuleIsWatched(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(*Checker)
		want string // "" for nothing wrong
	}{
		{"two that fit", func(c *Checker) { bind(c, pod("x", "500m"), "a"); bind(c, pod("y", "500m"), "a") }, ""},
		{"one too many for the CPUs", func(c *Checker) { bind(c, pod("x", "600m"), "a"); bind(c, pod("y", "500m"), "a") }, "cpu on a to 1100m of 1"},
		{"room that was given back", func(c *Checker) {
			bind(c, pod("x", "600m"), "a")
			c.Pod(pod("x", "600m"), true)
			bind(c, pod("y", "500m"), "a")
		}, ""},
		{"one too many at all", func(c *Checker) {
			bind(c, pod("x", "0"), "a")
			bind(c, pod("y", "0"), "a")
			bind(c, pod("z", "0"), "a")
		}, "is pod 3 on a"},
		{"a port twice", func(c *Checker) { bind(c, pod("x", "0", port), "a"); bind(c, pod("y", "0", port), "a") }, "has host port 80"},
		{"a node that is not there", func(c *Checker) { bind(c, pod("x", "0"), "c") }, "which is not there"},
		{"the wrong pool", func(c *Checker) {
			bind(c, pod("x", "0", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"pool": "q"} }), "a")
		}, "does not match"},
		{"two homes", func(c *Checker) {
			bind(c, pod("x", "0"), "a")
			p := pod("x", "0")
			p.Spec.NodeName = "b"
			c.Pod(p, false)
		}, "to a and then to b"},
		{"against its own anti-affinity", func(c *Checker) { bind(c, pod("x", "0"), "a"); bind(c, pod("y", "0", anti), "a") }, "against its anti-affinity"},
		{"against that of another", func(c *Checker) { bind(c, pod("x", "0", anti), "a"); bind(c, pod("y", "0"), "a") }, "against that one's"},
		{"apart is well", func(c *Checker) { bind(c, pod("x", "0", anti), "a"); bind(c, pod("y", "0", anti), "b") }, ""},
		{"away from whom it must be near", func(c *Checker) { bind(c, pod("x", "0"), "a"); bind(c, pod("y", "0", near), "b") }, "away from"},
		{"the first of those that want to be together", func(c *Checker) { bind(c, pod("x", "0", near), "b"); bind(c, pod("y", "0", near), "b") }, ""},
		{"too uneven", func(c *Checker) { bind(c, pod("x", "0", even), "a"); bind(c, pod("y", "0", even), "a") }, "the skew over zone to 2"},
		{"even", func(c *Checker) {
			bind(c, pod("x", "0", even), "a")
			bind(c, pod("y", "0", even), "b")
			bind(c, pod("z", "0", even), "a")
		}, ""},
		{"a claim for one pod with two", func(c *Checker) {
			c.Claim(&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}}}, false)
			bind(c, pod("x", "0", sole), "a")
			bind(c, pod("y", "0", sole), "b")
		}, "has claim ns/data"},
	} {
		c := cluster()
		tt.do(c)
		got := strings.Join(c.Violations, "\n")
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: found %q, want %q", tt.name, got, tt.want)
		}
	}
}
