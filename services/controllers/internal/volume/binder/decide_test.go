package binder

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	rule "kubus.dev/proto/volume"
)

func claim(change ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "data", UID: "c1", Annotations: map[string]string{}}}
	c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("5Gi")}
	c.Status.Phase = corev1.ClaimPending
	for _, f := range change {
		f(c)
	}
	return c
}

func class(name string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = &name }
}

func names(volume string, annotations ...string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) {
		c.Spec.VolumeName = volume
		for _, a := range annotations {
			c.Annotations[a] = "yes"
		}
	}
}

func selected(node string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) { c.Annotations[rule.SelectedNode] = node }
}

func pv(name string, change ...func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{}}}
	v.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	v.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("5Gi")}
	v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
	v.Status.Phase = corev1.VolumeAvailable
	for _, f := range change {
		f(v)
	}
	return v
}

func refers(name, uid string) func(*corev1.PersistentVolume) {
	return func(v *corev1.PersistentVolume) {
		v.Spec.ClaimRef = rule.Reference(&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}})
		v.Spec.ClaimRef.UID = types.UID(uid)
	}
}

func storageClass(name string, mode storagev1.VolumeBindingMode) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, VolumeBindingMode: &mode, Provisioner: rule.LocalProvisioner}
}

func TestWhatBecomesOfAClaim(t *testing.T) {
	t.Parallel()
	wait, now := storageClass("local", storagev1.VolumeBindingWaitForFirstConsumer), storageClass("fast", storagev1.VolumeBindingImmediate)
	of := func(c string) func(*corev1.PersistentVolume) {
		return func(v *corev1.PersistentVolume) { v.Spec.StorageClassName = c }
	}
	tests := []struct {
		name   string
		claim  *corev1.PersistentVolumeClaim
		around around
		// what is wanted: the volume to bind, the class to set, "provision", or the phase
		bind, class string
		provision   bool
		phase       corev1.PersistentVolumeClaimPhase
		reason      string
		text        string
		fails       bool
	}{
		{name: "any that fits", claim: claim(), around: around{Candidates: []*corev1.PersistentVolume{pv("a")}}, bind: "a"},
		{name: "none, and no class", claim: claim(class("")), phase: corev1.ClaimPending, reason: "FailedBinding", text: "no persistent volumes available for this claim and no storage class is set"},
		{name: "none, and a default class", claim: claim(), around: around{Default: wait}, class: "local"},
		{name: "the default class is not for who wishes none", claim: claim(class("")), around: around{Default: wait}, phase: corev1.ClaimPending, reason: "FailedBinding",
			text: "no persistent volumes available for this claim and no storage class is set"},
		{name: "immediate binding is provisioned for", claim: claim(class("fast")), around: around{Class: now}, provision: true},
		{name: "a class that is not there is for provisioning to tell", claim: claim(class("gone")), provision: true},
		{name: "first consumer awaited", claim: claim(class("local")), around: around{Class: wait, Candidates: []*corev1.PersistentVolume{pv("a", of("local"))}},
			phase: corev1.ClaimPending, reason: "WaitForFirstConsumer", text: "waiting for first consumer to be created before binding"},
		{name: "a pod is there", claim: claim(class("local")), around: around{Class: wait, Unplaced: []string{"p"}},
			phase: corev1.ClaimPending, reason: "WaitForPodScheduled", text: "waiting for pod p to be scheduled"},
		{name: "pods are there", claim: claim(class("local")), around: around{Class: wait, Unplaced: []string{"p", "q"}},
			phase: corev1.ClaimPending, reason: "WaitForPodScheduled", text: "waiting for pods p,q to be scheduled"},
		{name: "its consumer has a node", claim: claim(class("local"), selected("n1")), around: around{Class: wait}, provision: true},
		{name: "the scheduler chose a volume", claim: claim(class("local")), around: around{Class: wait, Candidates: []*corev1.PersistentVolume{pv("a", of("local"), refers("data", "c1"))}}, bind: "a"},

		{name: "the named one is not there", claim: claim(names("a")), phase: corev1.ClaimPending},
		{name: "the named one is free", claim: claim(names("a")), around: around{Volume: pv("a")}, bind: "a"},
		{name: "the named one is too small", claim: claim(names("a")), around: around{Volume: pv("a", func(v *corev1.PersistentVolume) {
			v.Spec.Capacity[corev1.ResourceStorage] = resource.MustParse("1Gi")
		})}, phase: corev1.ClaimPending, reason: "VolumeMismatch", text: `Cannot bind to requested volume "a": requested PV is too small`},
		{name: "the named one is reserved for it", claim: claim(names("a")), around: around{Volume: pv("a", refers("data", ""))}, bind: "a"},
		{name: "the named one is another's", claim: claim(names("a")), around: around{Volume: pv("a", refers("other", "x"))},
			phase: corev1.ClaimPending, reason: "FailedBinding", text: `volume "a" already bound to a different claim.`},
		{name: "another's although we chose it", claim: claim(names("a", rule.BoundByController)), around: around{Volume: pv("a", refers("other", "x"))},
			reason: "FailedBinding", text: `volume "a" already bound to a different claim.`, fails: true},

		{name: "bound and well", claim: claim(names("a", rule.BindCompleted)), around: around{Volume: pv("a", refers("data", "c1"))}, bind: "a"},
		{name: "bound, and its volume forgot", claim: claim(names("a", rule.BindCompleted)), around: around{Volume: pv("a")}, bind: "a"},
		{name: "bound, and its volume is gone", claim: claim(names("a", rule.BindCompleted)), phase: corev1.ClaimLost, reason: "ClaimLost",
			text: "Bound claim has lost its PersistentVolume. Data on the volume is lost!"},
		{name: "bound, and forgot its volume", claim: claim(names("", rule.BindCompleted)), phase: corev1.ClaimLost, reason: "ClaimLost",
			text: "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"},
		{name: "bound, and its volume is another's", claim: claim(names("a", rule.BindCompleted)), around: around{Volume: pv("a", refers("data", "c0"))}, phase: corev1.ClaimLost,
			reason: "ClaimMisbound", text: "Two claims are bound to the same volume, this one is bound incorrectly"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := decide(tt.claim, tt.around)
			bind, event := "", note{}
			if d.Bind != nil {
				bind = d.Bind.Name
			}
			if d.Event != nil {
				event = *d.Event
			}
			if bind != tt.bind || d.Class != tt.class || d.Provision != tt.provision || d.Phase != tt.phase || event.reason != tt.reason || event.text != tt.text || (d.Err != nil) != tt.fails {
				t.Errorf("got %+v %+v", d, event)
			}
		})
	}
}

func TestWhatBecomesOfAVolume(t *testing.T) {
	t.Parallel()
	made := func(v *corev1.PersistentVolume) {
		v.Annotations[rule.ProvisionedBy] = rule.LocalProvisioner
		v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimDelete
	}
	inPhase := func(p corev1.PersistentVolumePhase) func(*corev1.PersistentVolume) {
		return func(v *corev1.PersistentVolume) { v.Status.Phase = p }
	}
	block := corev1.PersistentVolumeBlock
	for _, tt := range []struct {
		name  string
		pv    *corev1.PersistentVolume
		claim *corev1.PersistentVolumeClaim
		want  verdict
	}{
		{"free", pv("a"), nil, verdict{Phase: corev1.VolumeAvailable}},
		{"reserved", pv("a", refers("data", "")), nil, verdict{Phase: corev1.VolumeAvailable}},
		{"bound", pv("a", refers("data", "c1")), claim(names("a")), verdict{Phase: corev1.VolumeBound}},
		{"the claim is about to complete the binding", pv("a", refers("data", "c1")), claim(), verdict{}},
		{"the claim is gone", pv("a", refers("data", "c1")), nil, verdict{Phase: corev1.VolumeReleased, Reclaim: true}},
		{"the claim is a new one of that name", pv("a", refers("data", "c0")), claim(), verdict{Phase: corev1.VolumeReleased, Reclaim: true}},
		{"a failed one stays so", pv("a", refers("data", "c1"), inPhase(corev1.VolumeFailed)), nil, verdict{Reclaim: true}},
		{"the claim has another volume", pv("a", refers("data", "c1")), claim(names("b")), verdict{Unbind: true}},
		{"the claim has another volume, and this one was made for it", pv("a", refers("data", "c1"), made), claim(names("b")), verdict{Phase: corev1.VolumeReleased, Reclaim: true}},
	} {
		if got := judge(tt.pv, tt.claim); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
	got := judge(pv("a", refers("data", "c1"), func(v *corev1.PersistentVolume) { v.Spec.VolumeMode = &block }), claim())
	if got.Event == nil || got.ToClaim == nil || got.Phase != "" {
		t.Errorf("another mode: %+v", got)
	}
}

func TestReclaimPolicies(t *testing.T) {
	t.Parallel()
	policy := func(p corev1.PersistentVolumeReclaimPolicy, by string) func(*corev1.PersistentVolume) {
		return func(v *corev1.PersistentVolume) {
			v.Spec.PersistentVolumeReclaimPolicy = p
			if by != "" {
				v.Annotations[rule.ProvisionedBy] = by
			}
			v.Spec.Local = &corev1.LocalVolumeSource{Path: "/x"}
		}
	}
	for _, tt := range []struct {
		name string
		pv   *corev1.PersistentVolume
		who  remover
		why  string
	}{
		{"Retain keeps", pv("a", policy(corev1.PersistentVolumeReclaimRetain, rule.LocalProvisioner)), nobody, ""},
		{"Delete of ours", pv("a", policy(corev1.PersistentVolumeReclaimDelete, rule.LocalProvisioner)), ours, ""},
		{"Delete of another's", pv("a", policy(corev1.PersistentVolumeReclaimDelete, "csi.example.com")), external, ""},
		{"Delete of what a person made", pv("a", policy(corev1.PersistentVolumeReclaimDelete, "")), nobody, `error getting deleter volume plugin for volume "a": no deletable volume plugin matched`},
		{"Recycle is refused", pv("a", policy(corev1.PersistentVolumeReclaimRecycle, "")), nobody, "No recycler plugin found for the volume!"},
	} {
		who, why := reclaim(tt.pv)
		text := ""
		if why != nil {
			text = why.text
		}
		if who != tt.who || text != tt.why {
			t.Errorf("%s: %v %q", tt.name, who, text)
		}
	}
}

func TestUnboundLeavesWhatTheUserReserved(t *testing.T) {
	t.Parallel()
	if got := unbound(pv("a", refers("data", "c1"))); got.Spec.ClaimRef == nil || got.Spec.ClaimRef.UID != "" || got.Spec.ClaimRef.Name != "data" {
		t.Errorf("reserved by the user: %+v", got.Spec.ClaimRef)
	}
	got := unbound(pv("a", refers("data", "c1"), func(v *corev1.PersistentVolume) { v.Annotations[rule.BoundByController] = "yes" }))
	if got.Spec.ClaimRef != nil || len(got.Annotations) != 0 {
		t.Errorf("chosen by us: %+v", got)
	}
}

func TestTheNewestDefaultClassCounts(t *testing.T) {
	t.Parallel()
	at := func(name string, minute int, is string) *storagev1.StorageClass {
		c := storageClass(name, storagev1.VolumeBindingImmediate)
		c.CreationTimestamp = metav1.NewTime(time.Unix(int64(60*minute), 0))
		c.Annotations = map[string]string{"storageclass.kubernetes.io/is-default-class": is}
		return c
	}
	got := defaultClass([]*storagev1.StorageClass{at("a", 1, "true"), at("c", 2, "true"), at("b", 2, "true"), at("d", 3, "false")})
	if got == nil || got.Name != "b" {
		t.Errorf("%+v", got)
	}
	if got := defaultClass(nil); got != nil {
		t.Errorf("%+v", got)
	}
}

func TestAFolderServesOnlyWhatItCan(t *testing.T) {
	t.Parallel()
	c := storageClass("local", storagev1.VolumeBindingWaitForFirstConsumer)
	block := corev1.PersistentVolumeBlock
	for want, cl := range map[string]*corev1.PersistentVolumeClaim{
		"": claim(),
		`Failed to provision volume with StorageClass "local": a folder on one node has access modes ReadWriteOnce and ReadWriteOncePod only`: claim(func(c *corev1.PersistentVolumeClaim) {
			c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
		}),
		`Failed to provision volume with StorageClass "local": a folder cannot serve volumeMode Block`: claim(func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeMode = &block }),
		`plugin "kubus.dev/local" is not a CSI plugin. Only CSI plugin can provision a claim with a datasource`: claim(func(c *corev1.PersistentVolumeClaim) {
			c.Spec.DataSource = &corev1.TypedLocalObjectReference{}
		}),
	} {
		got := ""
		if err := cannot(cl, c); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
