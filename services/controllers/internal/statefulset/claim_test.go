package statefulset

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	retain = appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	drop   = appsv1.DeletePersistentVolumeClaimRetentionPolicyType
)

func refTo(kindOf, name, uid string, controller bool) metav1.OwnerReference {
	version := "apps/v1"
	if kindOf == "Pod" {
		version = "v1"
	}
	return metav1.OwnerReference{APIVersion: version, Kind: kindOf, Name: name, UID: types.UID(uid), Controller: &controller}
}

// Who owns the claims of web-0, which is wished, and of web-5, which is not.
func TestClaimsBelongAsTheRetentionPolicySays(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		whenScaled, whenDeleted appsv1.PersistentVolumeClaimRetentionPolicyType
		wished, condemned       string
	}{
		{retain, retain, "<>", "<>"},
		{retain, drop, "<StatefulSet/web>", "<StatefulSet/web>"},
		{drop, retain, "<>", "<Pod/web-5>"},
		{drop, drop, "<StatefulSet/web>", "<Pod/web-5>"},
		{"Unknown", drop, "<>", "<>"},
	} {
		set := newSet(1, withClaims, retaining(tt.whenScaled, tt.whenDeleted))
		for i, want := range map[string]string{"0": tt.wished, "5": tt.condemned} {
			p := podsOf(set, i+":new,ready")[0]
			// whatever they are owned by before
			for _, before := range [][]metav1.OwnerReference{nil, {refTo("StatefulSet", "web", "set", true)}, {refTo("Pod", p.Name, string(p.UID), true)}, {refTo("StatefulSet", "web", "set", false)}} {
				c := newClaims(set, ordinal(p))[0]
				c.OwnerReferences = before
				change, conflicts := claims{c.Name: c}.misowned(set, p)
				got := c
				if change != nil {
					got = change[0]
				}
				if ownersOf(got) != want || !owned(set, p, got) || conflicts != nil || fmt.Sprint(c.OwnerReferences) != fmt.Sprint(before) {
					t.Errorf("scaled %s, deleted %s: %s's claim, %s before, has %s, want %s", tt.whenScaled, tt.whenDeleted, p.Name, ownersOf(&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{OwnerReferences: before}}), ownersOf(got), want)
				}
			}
		}
	}
}

func TestClaimsOfOthers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		policy    appsv1.PersistentVolumeClaimRetentionPolicyType
		before    []metav1.OwnerReference
		want      string // "" for no change
		conflicts int
	}{
		{"another controller's is left to it", drop, []metav1.OwnerReference{refTo("Job", "j", "j", true)}, "", 1},
		{"and we step back from it", drop, []metav1.OwnerReference{refTo("Job", "j", "j", true), refTo("StatefulSet", "web", "set", true)}, "<Job/j>", 1},
		{"with Retain nobody minds", retain, []metav1.OwnerReference{refTo("Job", "j", "j", true)}, "", 0},
		{"an owner that controls nothing stays beside us", drop, []metav1.OwnerReference{refTo("Job", "j", "j", false)}, "<Job/j,StatefulSet/web>", 0},
		{"an earlier set's is the garbage collector's", drop, []metav1.OwnerReference{refTo("StatefulSet", "web", "former", true)}, "", 1},
		{"so is an earlier pod's", drop, []metav1.OwnerReference{refTo("Pod", "web-0", "former", true)}, "", 1},
	}
	for _, tt := range tests {
		set := newSet(1, withClaims, retaining(tt.policy, tt.policy))
		p := podsOf(set, "0:new,ready")[0]
		c := newClaims(set, 0)[0]
		c.OwnerReferences = tt.before
		change, conflicts := claims{c.Name: c}.misowned(set, p)
		got := ""
		if change != nil {
			got = ownersOf(change[0])
		}
		if got != tt.want || len(conflicts) != tt.conflicts {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, conflicts, tt.want)
		}
	}
}

func TestClaimsInPlans(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		set    *appsv1.StatefulSet
		pods   string
		claims func(claims)
		want   string
	}{
		{"a claim is made before its pod", newSet(1, withClaims), "", nil, "create web-0 of new +data-web-0"},
		{"with its owner", newSet(1, withClaims, retaining(retain, drop)), "", nil, "create web-0 of new +data-web-0"},
		{"what is there is used again", newSet(1, withClaims), "", func(c claims) { c["data-web-0"] = &corev1.PersistentVolumeClaim{} }, "create web-0 of new"},
		{"and given its owner", newSet(1, withClaims, retaining(retain, drop)), "", func(c claims) {
			c["data-web-0"] = &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data-web-0"}}
		}, "create web-0 of new data-web-0<StatefulSet/web>"},
		{"what is being deleted is not", newSet(1, withClaims), "", func(c claims) {
			c["data-web-0"] = &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &metav1.Time{}}}
		}, "create web-0 of new (pvc data-web-0 is being deleted)"},
		{"an earlier pod's claim is waited for", newSet(1, withClaims, retaining(drop, retain)), "", func(c claims) {
			c["data-web-0"] = &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data-web-0", OwnerReferences: []metav1.OwnerReference{refTo("Pod", "web-0", "former", true)}}}
		}, ""},
		{"a pending pod gets what it lacks", newSet(1, withClaims), "0:new,pending", func(c claims) { delete(c, "data-web-0") }, "settle web-0 +data-web-0"},
		{"a condemned pod's claim changes hands first", newSet(0, withClaims, retaining(drop, drop)), "0:new,ready", func(c claims) {
			c["data-web-0"].OwnerReferences = []metav1.OwnerReference{refTo("StatefulSet", "web", "set", true)}
		}, "data-web-0<Pod/web-0>; retire web-0"},
		{"one that is wished again gets it back", newSet(1, withClaims, retaining(drop, drop)), "0:new,ready", func(c claims) {
			c["data-web-0"].OwnerReferences = []metav1.OwnerReference{refTo("Pod", "web-0", "uid-0", true)}
		}, " web-0 data-web-0<StatefulSet/web>"},
		{"conflicts are told", newSet(1, withClaims, retaining(drop, drop)), "0:new,pending", func(c claims) {
			c["data-web-0"].OwnerReferences = []metav1.OwnerReference{refTo("Job", "j", "j", true)}
		}, "ConflictingController"},
	}
	for _, tt := range tests {
		present := claimsThere(tt.set, tt.pods)
		if tt.claims != nil {
			tt.claims(present)
		}
		got, err := decide(observed{tt.set, revisionNamed("old", ""), revisionNamed("new", ""), podsOf(tt.set, tt.pods), present}, now)
		want := tt.want
		if want != "" && want[0] == ' ' {
			want = "settle" + want
		}
		if text := described(got); err != nil || text != want {
			t.Errorf("%s: %q, %v, want %q", tt.name, text, err, want)
		}
	}
}

func TestANewClaim(t *testing.T) {
	t.Parallel()
	set := newSet(1, withClaims, retaining(retain, drop))
	set.Spec.VolumeClaimTemplates[0].Labels = map[string]string{"own": "label"}
	made, blocked := claims{}.missing(set, podsOf(set, "0:new")[0])
	if blocked != nil || len(made) != 1 {
		t.Fatalf("%v, %v", made, blocked)
	}
	if c := made[0]; c.Name != "data-web-0" || c.Namespace != "ns" || c.Labels["app"] != "web" || c.Labels["own"] != "label" || ownersOf(c) != "<StatefulSet/web>" {
		t.Errorf("got %+v", c)
	}
	if len(set.Spec.VolumeClaimTemplates[0].Labels) != 1 {
		t.Error("the template changed")
	}
	for name, want := range map[string]bool{"data-web-0": true, "data-web-12": true, "data-web-x": false, "data-other-0": false, "web-0": false} {
		if got := claimed(set, name); got != want {
			t.Errorf("%s is the set's: %v", name, got)
		}
	}
}
