package volume

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func claim(change ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "data", UID: "c1"}}
	class := "fast"
	c.Spec.StorageClassName = &class
	c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("5Gi")}
	for _, f := range change {
		f(c)
	}
	return c
}

func pv(name, capacity string, change ...func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}}
	v.Spec.StorageClassName = "fast"
	v.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	v.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(capacity)}
	v.Status.Phase = corev1.VolumeAvailable
	for _, f := range change {
		f(v)
	}
	return v
}

func refers(namespace, name, uid string) func(*corev1.PersistentVolume) {
	return func(v *corev1.PersistentVolume) {
		v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: namespace, Name: name, UID: types.UID(uid)}
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	block := corev1.PersistentVolumeBlock
	attributes := "gold"
	modes := func(m ...corev1.PersistentVolumeAccessMode) func(*corev1.PersistentVolume) {
		return func(v *corev1.PersistentVolume) { v.Spec.AccessModes = m }
	}
	here := func(names ...string) Where {
		return func(v *corev1.PersistentVolume) bool {
			for _, n := range names {
				if n == v.Name {
					return true
				}
			}
			return false
		}
	}
	all := []*corev1.PersistentVolume{pv("large", "20Gi"), pv("right", "5Gi"), pv("small", "1Gi")}
	tests := []struct {
		name    string
		claim   *corev1.PersistentVolumeClaim
		volumes []*corev1.PersistentVolume
		on      Where
		waits   bool
		taken   map[string]bool
		want    string
	}{
		{name: "the smallest that is large enough", claim: claim(), volumes: all, want: "right"},
		{name: "one that is taken is left alone", claim: claim(), volumes: all, taken: map[string]bool{"right": true}, want: "large"},
		{name: "one that refers to the claim, be it larger", claim: claim(), volumes: append(all, pv("mine", "30Gi", refers("ns", "data", "c1"))), want: "mine"},
		{name: "one that is reserved by name", claim: claim(), volumes: append(all, pv("mine", "30Gi", refers("ns", "data", ""))), want: "mine"},
		{name: "one of an earlier claim of that name is not", claim: claim(), volumes: []*corev1.PersistentVolume{pv("old", "5Gi", refers("ns", "data", "c0"))}},
		{name: "one of another's claim is not", claim: claim(), volumes: []*corev1.PersistentVolume{pv("other", "5Gi", refers("ns", "other", ""))}},
		{name: "a reserved one that is too small is not", claim: claim(), volumes: []*corev1.PersistentVolume{pv("mine", "1Gi", refers("ns", "data", ""))}},
		{name: "a claim that waits gets none without a node", claim: claim(), volumes: all, waits: true},
		{name: "a claim that waits gets what is reserved for it", claim: claim(), volumes: append(all, pv("mine", "5Gi", refers("ns", "data", ""))), waits: true, want: "mine"},
		{name: "on a node, what can be used there", claim: claim(), volumes: all, waits: true, on: here("large"), want: "large"},
		{name: "what is reserved and cannot be used there keeps others away", claim: claim(), volumes: append(all, pv("mine", "5Gi", refers("ns", "data", ""))), on: here("right")},
		{name: "fewest access modes beyond the wished first", claim: claim(), volumes: []*corev1.PersistentVolume{
			pv("both", "5Gi", modes(corev1.ReadWriteOnce, corev1.ReadOnlyMany)), pv("one", "6Gi")}, want: "one"},
		{name: "an access mode that is missing", claim: claim(), volumes: []*corev1.PersistentVolume{pv("a", "5Gi", modes(corev1.ReadOnlyMany))}},
		{name: "another class", claim: claim(), volumes: []*corev1.PersistentVolume{pv("a", "5Gi", func(v *corev1.PersistentVolume) { v.Spec.StorageClassName = "" })}},
		{name: "another mode", claim: claim(), volumes: []*corev1.PersistentVolume{pv("a", "5Gi", func(v *corev1.PersistentVolume) { v.Spec.VolumeMode = &block })}},
		{name: "other attributes", claim: claim(), volumes: []*corev1.PersistentVolume{pv("a", "5Gi", func(v *corev1.PersistentVolume) { v.Spec.VolumeAttributesClassName = &attributes })}},
		{name: "one that is being deleted", claim: claim(), volumes: []*corev1.PersistentVolume{pv("a", "5Gi", func(v *corev1.PersistentVolume) { v.DeletionTimestamp = &metav1.Time{} })}},
		{name: "one that is not available yet", claim: claim(), volumes: []*corev1.PersistentVolume{pv("a", "5Gi", func(v *corev1.PersistentVolume) { v.Status.Phase = corev1.VolumePending })}},
		{name: "the selector's", claim: claim(func(c *corev1.PersistentVolumeClaim) {
			c.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
		}), volumes: append(all, pv("labelled", "30Gi", func(v *corev1.PersistentVolume) { v.Labels = map[string]string{"a": "b"} })), want: "labelled"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := Match(tt.claim, tt.volumes, tt.on, tt.waits, tt.taken)
			if err != nil {
				t.Fatal(err)
			}
			name := ""
			if got != nil {
				name = got.Name
			}
			if name != tt.want {
				t.Errorf("got %q, want %q", name, tt.want)
			}
		})
	}
	if _, err := Match(claim(func(c *corev1.PersistentVolumeClaim) {
		c.Spec.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}}
	}), all, nil, false, nil); err == nil {
		t.Error("a selector that cannot be read matched")
	}
}

func TestFitsSaysWhyNot(t *testing.T) {
	t.Parallel()
	block := corev1.PersistentVolumeBlock
	for want, v := range map[string]*corev1.PersistentVolume{
		"":                                      pv("a", "5Gi"),
		"requested PV is too small":             pv("a", "4Gi"),
		`the volume is marked for deletion "a"`: pv("a", "5Gi", func(v *corev1.PersistentVolume) { v.DeletionTimestamp = &metav1.Time{} }),
		"storageClassName does not match": pv("a", "5Gi", func(v *corev1.PersistentVolume) {
			v.Annotations = map[string]string{corev1.BetaStorageClassAnnotation: "slow"}
		}),
		"incompatible volumeMode": pv("a", "5Gi", func(v *corev1.PersistentVolume) { v.Spec.VolumeMode = &block }),
		"incompatible accessMode": pv("a", "5Gi", func(v *corev1.PersistentVolume) { v.Spec.AccessModes = nil }),
	} {
		got := ""
		if err := Fits(v, claim()); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestReferringNotesWhoChose(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		pv      *corev1.PersistentVolume
		changed bool
		ours    bool
	}{
		{"a free volume is chosen by us", pv("a", "5Gi"), true, true},
		{"a reserved one gets the UID", pv("a", "5Gi", refers("ns", "data", "")), true, false},
		{"a bound one stays", pv("a", "5Gi", refers("ns", "data", "c1")), false, false},
	} {
		before := tt.pv.DeepCopy()
		got, changed := Referring(tt.pv, claim())
		_, ours := got.Annotations[BoundByController]
		if changed != tt.changed || ours != tt.ours || got.Spec.ClaimRef.UID != "c1" || got.Spec.ClaimRef.Name != "data" {
			t.Errorf("%s: changed %v, by us %v, %+v", tt.name, changed, ours, got.Spec.ClaimRef)
		}
		if (before.Spec.ClaimRef == nil) != (tt.pv.Spec.ClaimRef == nil) {
			t.Errorf("%s: the volume itself was changed", tt.name)
		}
	}
}
