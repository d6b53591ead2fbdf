package claim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

// api applies the patches to the mirror, as the gateway and the log do, unless it
// refuses those of a name.
type api struct {
	pods    *mirror.Kind[corev1.Pod]
	owner   metav1.PartialObjectMetadata // as the API has it
	refuses map[string]error
	sent    []string
	last    uint64
}

func (a *api) Do(context.Context, apiclient.Request) ([]byte, error) { return json.Marshal(&a.owner) }

func (a *api) Bulk(_ context.Context, _ apiclient.BulkOptions, requests []apiclient.Request) ([]apiclient.Result, error) {
	var out []apiclient.Result
	for _, r := range requests {
		name := r.Path[strings.LastIndexByte(r.Path, '/')+1:]
		a.sent = append(a.sent, name)
		if err := a.refuses[name]; err != nil {
			out = append(out, apiclient.Result{Err: err})
			continue
		}
		p := a.pods.Get("ns", name).DeepCopy()
		if strings.Contains(string(r.Body), `"$patch":"delete"`) {
			p.OwnerReferences = nil
		} else {
			p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner(), kind)}
		}
		a.last++
		a.pods.Put(a.last, p)
		out = append(out, apiclient.Result{Body: fmt.Appendf(nil, `{"metadata":{"resourceVersion":"%d"}}`, a.last)})
	}
	return out, nil
}

var kind = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "ReplicaSet"}

func owner() Owner {
	return Owner{Object: &metav1.ObjectMeta{Name: "o", Namespace: "ns", UID: "o"}, Kind: kind, Path: "/o", Selector: labels.SelectorFromSet(labels.Set{"app": "web"})}
}

// by makes a pod that a controller of that uid has; none of "".
func by(uid types.UID, name, app string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: types.UID(name), Labels: map[string]string{"app": app}}}
	if uid != "" {
		p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(&metav1.ObjectMeta{Name: string(uid), UID: uid}, kind)}
	}
	return p
}

func names(pods []*corev1.Pod) []string {
	var out []string
	for _, p := range pods {
		out = append(out, p.Name)
	}
	return out
}

func TestOf(t *testing.T) {
	t.Parallel()
	going := by("", "going", "web")
	going.DeletionTimestamp = &metav1.Time{}
	pods := []*corev1.Pod{by("o", "mine", "web"), by("o", "relabelled", "other"), by("", "orphan", "web"), by("", "stranger", "other"), by("x", "foreign", "web"), going}
	for name, c := range map[string]struct {
		deleted               bool
		owned, adopt, release []string
	}{
		"an owner takes matching orphans and lets go what does not match": {false, []string{"mine"}, []string{"orphan"}, []string{"relabelled"}},
		"one that is being deleted does neither":                          {true, []string{"mine"}, nil, nil},
	} {
		o := owner()
		if c.deleted {
			o.SetDeletionTimestamp(&metav1.Time{})
		}
		got := Of(o, pods)
		if !slices.Equal(names(got.Owned), c.owned) || !slices.Equal(names(got.Adopt), c.adopt) || !slices.Equal(names(got.Release), c.release) {
			t.Errorf("%s: owned %v, adopt %v, release %v", name, names(got.Owned), names(got.Adopt), names(got.Release))
		}
	}
}

func TestSettle(t *testing.T) {
	t.Parallel()
	notFound := apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, "x")
	invalid := apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, "x", nil)
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, "x", errors.New("changed"))
	tests := []struct {
		name    string
		refuses map[string]error
		fresh   types.UID // of the owner in the API
		owned   []string
		wrong   string
	}{
		{"adopted and released", nil, "o", []string{"mine", "orphan"}, ""},
		{"an orphan that is gone is no failure", map[string]error{"orphan": notFound}, "o", []string{"mine"}, ""},
		{"nor is one to release that was replaced", map[string]error{"relabelled": invalid}, "o", []string{"mine", "orphan"}, ""},
		{"an orphan that was replaced is", map[string]error{"orphan": invalid}, "o", nil, "claiming pod"},
		{"a conflict is for a later try", map[string]error{"orphan": conflict}, "o", nil, "claiming pod"},
		{"an owner that was replaced adopts nothing", nil, "another", nil, "is gone"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := &api{pods: mirror.NewWorld().Pods, refuses: tt.refuses, last: 10}
			a.owner.UID = tt.fresh
			for _, p := range []*corev1.Pod{by("o", "mine", "web"), by("o", "relabelled", "other"), by("", "orphan", "web")} {
				a.pods.Put(10, p)
			}
			found := Of(owner(), a.pods.List("ns"))
			got, err := Settle(t.Context(), write.New(a, nil), owner(), a.pods, found)
			if (tt.wrong == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.wrong) {
				t.Fatalf("error %v, want %q", err, tt.wrong)
			}
			have := names(got)
			slices.Sort(have)
			if !slices.Equal(have, tt.owned) {
				t.Errorf("owned %v, want %v", have, tt.owned)
			}
			if tt.fresh != "o" && len(a.sent) > 0 {
				t.Errorf("written: %v", a.sent)
			}
		})
	}
}
