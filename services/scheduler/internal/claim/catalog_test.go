package claim

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/volume"
	"kubus.dev/services/scheduler/internal/shape"
)

func newClass(name string, mode storagev1.VolumeBindingMode, provisioner string) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: "1"}, VolumeBindingMode: &mode, Provisioner: provisioner}
}

func newClaim(name, class string, change ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-" + name), ResourceVersion: "1", Annotations: map[string]string{}}}
	c.Spec.StorageClassName = &class
	c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("5Gi")}
	for _, f := range change {
		f(c)
	}
	return c
}

func boundTo(pv string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) {
		c.Spec.VolumeName, c.Status.Phase = pv, corev1.ClaimBound
		c.Annotations[volume.BindCompleted] = "yes"
	}
}

func at(node string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) { c.Annotations[volume.SelectedNode] = node }
}

func newVolume(name, class, node string) *corev1.PersistentVolume {
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), ResourceVersion: "1"}}
	pv.Spec.StorageClassName = class
	pv.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	pv.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("5Gi")}
	pv.Status.Phase = corev1.VolumeAvailable
	pv.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}}}}}}
	return pv
}

func nodeNamed(name string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
}

// newPod names claims; those that begin with "+" are ephemeral volumes' names.
func newPod(name string, claims ...string) *shape.Pod {
	spec := &corev1.Pod{}
	for _, c := range claims {
		v := corev1.Volume{Name: strings.TrimPrefix(c, "+")}
		if strings.HasPrefix(c, "+") {
			v.Ephemeral = &corev1.EphemeralVolumeSource{}
		} else {
			v.PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c}
		}
		spec.Spec.Volumes = append(spec.Spec.Volumes, v)
	}
	return &shape.Pod{Namespace: "ns", Name: name, UID: "uid-" + name, Shape: shape.New(spec)}
}

// local is a catalog with the classes local (waits, is provisioned), static (waits, is
// not) and now (immediate).
func local() *Catalog {
	c := New()
	c.SetClass("local", newClass("local", storagev1.VolumeBindingWaitForFirstConsumer, "kubus.dev/local"))
	c.SetClass("static", newClass("static", storagev1.VolumeBindingWaitForFirstConsumer, volume.NoProvisioner))
	c.SetClass("now", newClass("now", storagev1.VolumeBindingImmediate, "x"))
	return c
}

func (c *Catalog) with(claims ...*corev1.PersistentVolumeClaim) *Catalog {
	for _, claim := range claims {
		c.SetClaim(claim.Namespace+"/"+claim.Name, claim)
	}
	return c
}

func (c *Catalog) holding(volumes ...*corev1.PersistentVolume) *Catalog {
	for _, pv := range volumes {
		c.SetVolume(pv.Name, pv)
	}
	return c
}

func TestWhatIsInTheWay(t *testing.T) {
	t.Parallel()
	lost := func(c *corev1.PersistentVolumeClaim) { c.Status.Phase, c.Spec.VolumeName = corev1.ClaimLost, "gone" }
	deleted := func(c *corev1.PersistentVolumeClaim) { c.DeletionTimestamp = &metav1.Time{} }
	for want, tt := range map[string]struct {
		catalog *Catalog
		pod     *shape.Pod
	}{
		`persistentvolumeclaim "data" not found`:                                               {local(), newPod("p", "data")},
		`waiting for ephemeral volume controller to create the persistentvolumeclaim "p-data"`: {local(), newPod("p", "+data")},
		`PVC ns/p-data was not created for pod ns/p (pod is not owner)`:                        {local().with(newClaim("p-data", "local")), newPod("p", "+data")},
		`persistentvolumeclaim "data" bound to non-existent persistentvolume "gone"`:           {local().with(newClaim("data", "local", lost)), newPod("p", "data")},
		`persistentvolumeclaim "other" not found`:                                              {local().with(newClaim("data", "local", lost)), newPod("p", "data", "other")},
		`persistentvolumeclaim "data" is being deleted`:                                        {local().with(newClaim("data", "local", deleted)), newPod("p", "data")},
		`pod has unbound immediate PersistentVolumeClaims`:                                     {local().with(newClaim("data", "now")), newPod("p", "data")},
		``: {local().with(newClaim("data", "local")), newPod("p", "data")},
	} {
		if got := tt.catalog.Pod(tt.pod, false).Shape.Obstacle(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	preBound := local().with(newClaim("data", "local", func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "a" }))
	if got := preBound.Pod(newPod("p", "data"), false).Shape.Obstacle(); got != "pod has unbound immediate PersistentVolumeClaims" {
		t.Errorf("a claim that names its volume: %q", got)
	}
}

func TestWhereAPodCanRun(t *testing.T) {
	t.Parallel()
	static := func() *Catalog {
		return local().holding(newVolume("a", "static", "n1"), newVolume("b", "static", "n2"))
	}
	for name, tt := range map[string]struct {
		catalog *Catalog
		pod     *shape.Pod
		n1, n2  string // volumes chosen there, "new" for one to be made, "-" where it cannot run
	}{
		"bound":                       {static().with(newClaim("data", "static", boundTo("a"))), newPod("p", "data"), "", "-"},
		"to be made":                  {local().with(newClaim("data", "local")), newPod("p", "data"), "data=new", "data=new"},
		"free volumes":                {static().with(newClaim("data", "static")), newPod("p", "data"), "data=a", "data=b"},
		"one for two":                 {static().with(newClaim("x", "static"), newClaim("y", "static")), newPod("p", "x", "y"), "-", "-"},
		"none, and nobody makes any":  {local().with(newClaim("data", "static")), newPod("p", "data"), "-", "-"},
		"one bound, one to be made":   {static().with(newClaim("x", "static", boundTo("b")), newClaim("y", "local")), newPod("p", "x", "y"), "-", "y=new"},
		"a free one before a new one": {local().holding(newVolume("a", "local", "n1")).with(newClaim("data", "local")), newPod("p", "data"), "data=a", "data=new"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			claims := tt.catalog.Pod(tt.pod, false).Shape.Claims
			for node, want := range map[string]string{"n1": tt.n1, "n2": tt.n2} {
				got := "-"
				if bindings, lack := claims.Choose(nodeNamed(node)); lack == shape.NoLack && claims.Reach(nodeNamed(node)) {
					var parts []string
					for _, b := range bindings {
						chosen := "new"
						if b.Volume != nil {
							chosen = b.Volume.Name
						}
						parts = append(parts, b.Claim.Name+"="+chosen)
					}
					got = strings.Join(parts, " ")
				}
				if got != want {
					t.Errorf("on %s: %q, want %q", node, got, want)
				}
			}
		})
	}
}

func TestAPodComesAgainWhenItsClaimsChange(t *testing.T) {
	t.Parallel()
	c := local()
	pod := newPod("p", "data")
	last := c.Pod(pod, false).Shape
	c.Changed()
	step := func(name string, change func(), waits bool, node string, obstacle bool) {
		t.Helper()
		change()
		changed := c.Changed()
		if len(changed) != 1 || changed[0].UID != pod.UID {
			t.Fatalf("%s: %d pods come again", name, len(changed))
		}
		s := changed[0].Shape
		if s.Waits() != waits || s.HoldsAt() != node || (s.Obstacle() != "") != obstacle || s == last {
			t.Errorf("%s: waits %v at %q, %q", name, s.Waits(), s.HoldsAt(), s.Obstacle())
		}
		last = s
	}
	step("the claim is made", func() { c.with(newClaim("data", "local")) }, false, "", false)
	step("its node is chosen", func() { c.with(newClaim("data", "local", at("n1"))) }, true, "n1", false)
	step("provisioning failed", func() { c.with(newClaim("data", "local")) }, false, "", false)
	step("chosen again", func() { c.with(newClaim("data", "local", at("n2"))) }, true, "n2", false)
	step("it is bound", func() {
		c.holding(newVolume("v", "local", "n2")).with(newClaim("data", "local", at("n2"), boundTo("v")))
	}, false, "", false)
	step("it is deleted", func() { c.SetClaim("ns/data", nil) }, false, "", true)

	c.with(newClaim("other", "local")).holding(newVolume("w", "static", "n1"))
	if changed := c.Changed(); len(changed) != 0 {
		t.Errorf("what is none of the pod's business brings %d pods", len(changed))
	}
	c.Pod(pod, true)
	c.with(newClaim("data", "local"))
	if changed := c.Changed(); len(changed) != 0 {
		t.Errorf("%d pods that are gone come again", len(changed))
	}
}

func TestAVolumeThatIsChosenIsWaitedFor(t *testing.T) {
	t.Parallel()
	c := local().with(newClaim("data", "static"))
	pv := newVolume("a", "static", "n1")
	pv.Spec.ClaimRef = volume.Reference(newClaim("data", "static"))
	s := c.holding(pv).Pod(newPod("p", "data"), false).Shape
	if !s.Waits() || s.HoldsAt() != "" || s.Placeable() {
		t.Errorf("waits %v at %q", s.Waits(), s.HoldsAt())
	}
}

func TestAClaimForOnePodOnly(t *testing.T) {
	t.Parallel()
	once := func(c *corev1.PersistentVolumeClaim) {
		c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}
	}
	c := local().holding(newVolume("a", "local", "n1")).with(newClaim("data", "local", boundTo("a"), once))
	running := newPod("first", "data")
	running.NodeName = "n1"
	c.Pod(running, false)
	if sole := c.Pod(running, false).Shape.Claims.Sole; !slices.Equal(sole, []string{"ns/data"}) {
		t.Errorf("the one that runs has %q for itself", sole)
	}
	second := c.Pod(newPod("second", "data"), false).Shape
	if !slices.Equal(second.Claims.Sole, []string{"ns/data"}) {
		t.Error("a second pod does not ask for the claim alone")
	}
	done := *running
	done.Terminal = true
	c.Pod(&done, false)
	changed := c.Changed()
	if len(changed) != 1 || changed[0].Shape == second {
		t.Errorf("after the first is done: %d pods come again", len(changed))
	}
}

func TestPodsWithTheSameClaimsAreOneGroup(t *testing.T) {
	t.Parallel()
	c := local().holding(newVolume("a", "local", "n1")).with(newClaim("data", "local", boundTo("a")))
	pod := newPod("p", "data")
	other := *pod
	other.Name, other.UID = "q", "uid-q"
	if x, y := c.Pod(pod, false).Shape, c.Pod(&other, false).Shape; x != y {
		t.Error("two shapes for pods that ask for the same")
	}
}
