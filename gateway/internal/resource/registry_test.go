package resource_test

import (
	"fmt"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto"
)

// custom is a kind as one of its versions, stored as another.
func custom(group, served, stored, plural, kind string) *resource.Kind {
	return &resource.Kind{
		GVR:    schema.GroupVersionResource{Group: group, Version: stored, Resource: plural},
		GVK:    schema.GroupVersionKind{Group: group, Version: stored, Kind: kind},
		Served: []schema.GroupVersion{{Group: group, Version: served}}, Custom: true,
	}
}

func gvr(group, version, plural string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: version, Resource: plural}
}

func TestATableThatWasLoadedNeverChanges(t *testing.T) {
	t.Parallel()
	r := resource.NewRegistry(resource.BuiltIn())
	before, changed := r.Changed()
	crontab := custom("example.com", "v1", "v1", "crontabs", "CronTab")
	r.Set("crd", []*resource.Kind{crontab})
	select {
	case <-changed:
	default:
		t.Error("nobody was told of the change")
	}
	if before.Find(gvr("example.com", "v1", "crontabs")) != nil {
		t.Error("the old table has the new kind")
	}
	if r.Find(gvr("example.com", "v1", "crontabs")) != crontab || r.Load().Of(crontab.GR()) != crontab {
		t.Error("the new table lacks the new kind")
	}
	if got := r.Load().Versions(); got[len(got)-1] != crontab.Served[0] || len(got) != len(before.Versions())+1 {
		t.Errorf("got versions %v", got)
	}
}

func TestSourcesReplaceOnlyTheirOwnKinds(t *testing.T) {
	t.Parallel()
	r := resource.NewRegistry(resource.BuiltIn())
	a, b := custom("a.example", "v1", "v1", "as", "A"), custom("b.example", "v1", "v1", "bs", "B")
	r.Set("one", []*resource.Kind{a})
	r.Set("two", []*resource.Kind{b})
	r.Set("one", nil)
	if r.Find(gvr("a.example", "v1", "as")) != nil || r.Find(gvr("b.example", "v1", "bs")) != b {
		t.Error("a source that was emptied took another's kinds along, or left its own")
	}
}

func TestABuiltInKindKeepsItsName(t *testing.T) {
	t.Parallel()
	r := resource.NewRegistry(resource.BuiltIn())
	pods := r.Find(gvr("", "v1", "pods"))
	r.Set("crd", []*resource.Kind{custom("", "v1", "v1", "pods", "Pod")})
	if r.Find(gvr("", "v1", "pods")) != pods {
		t.Error("pods were replaced")
	}
}

func TestOneCollectionInSeveralVersions(t *testing.T) {
	t.Parallel()
	r := resource.NewRegistry(nil)
	old, stored := custom("example.com", "v1beta1", "v1", "crontabs", "CronTab"), custom("example.com", "v1", "v1", "crontabs", "CronTab")
	r.Set("crd", []*resource.Kind{old, stored})
	if got := r.Load().Of(proto.GroupResource{Group: "example.com", Resource: "crontabs"}); got != stored {
		t.Errorf("the collection is %v's, want the storage version's", got.Served)
	}
	if r.Find(gvr("example.com", "v1beta1", "crontabs")) != old {
		t.Error("the other version is not served")
	}
}

func TestAKindThatLeavesIsGoneAndForgotten(t *testing.T) {
	t.Parallel()
	r := resource.NewRegistry(nil)
	kind, other := custom("example.com", "v1", "v1", "crontabs", "CronTab"), custom("example.com", "v1", "v1", "others", "Other")
	r.Set("crd", []*resource.Kind{kind, other})
	var made resource.PerKind[*int]
	first := made.Of(kind, func() *int { return new(int) })
	if made.Of(kind, func() *int { t.Error("made twice"); return nil }) != first {
		t.Error("the second use got another value")
	}
	gone := kind.Gone()
	r.Set("crd", []*resource.Kind{other})
	select {
	case <-gone:
	default:
		t.Error("a kind that left is not gone")
	}
	select {
	case <-other.Gone():
		t.Error("a kind that stayed is gone")
	default:
	}
	if made.Of(kind, func() *int { return new(int) }) == first {
		t.Error("what was made of a kind that left is still kept")
	}
	ran := false
	kind.AfterGone(func() { ran = true })
	if !ran {
		t.Error("who asks late is not told at once")
	}
}

func TestManyReadersWhileKindsComeAndGo(t *testing.T) {
	t.Parallel()
	r := resource.NewRegistry(resource.BuiltIn())
	var made resource.PerKind[string]
	var wait sync.WaitGroup
	for worker := range 4 {
		wait.Go(func() {
			for i := range 200 {
				if worker == 0 {
					r.Set("crd", []*resource.Kind{custom("example.com", "v1", "v1", fmt.Sprintf("k%ds", i%3), "K")})
					continue
				}
				table := r.Load()
				for _, k := range table.In(schema.GroupVersion{Group: "example.com", Version: "v1"}) {
					if got := made.Of(k, func() string { return k.GVR.Resource }); got != k.GVR.Resource {
						t.Errorf("got %s for %s", got, k.GVR.Resource)
					}
				}
			}
		})
	}
	wait.Wait()
}
