package enforcer_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zaptest"
	"k8s.io/apimachinery/pkg/labels"

	"kubus.dev/services/proxy/internal/enforcer"
	"kubus.dev/services/proxy/internal/filter"
	"kubus.dev/services/proxy/internal/policy"
)

// kernel notes what is asked of it.
type kernel struct {
	mu    sync.Mutex
	calls []string
	count filter.Count
	found bool
	fails error
}

func (k *kernel) did(what string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls = append(k.calls, what)
	return k.fails
}

func (k *kernel) set(fn func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	fn()
}

func (k *kernel) Replace(context.Context, *filter.Delta) error { return k.did("replace") }
func (k *kernel) Apply(context.Context, *filter.Delta) error   { return k.did("apply") }
func (k *kernel) Remove(context.Context) error                 { return k.did("remove") }
func (k *kernel) Count(context.Context) (filter.Count, bool, error) {
	err := k.did("count")
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.count, k.found, err
}

// expect tells what was asked since the last time.
func (k *kernel) expect(t *testing.T, story string, want ...string) {
	t.Helper()
	time.Sleep(100 * time.Millisecond) // of the bubble: all is done by then
	synctest.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	ok := len(want) == len(k.calls)
	for i := range min(len(want), len(k.calls)) {
		ok = ok && want[i] == k.calls[i]
	}
	if !ok {
		t.Errorf("%s: got %q, want %q", story, k.calls, want)
	}
	k.calls = nil
}

var name = policy.Name{Namespace: "red", Name: "a"}

func deny() *policy.Policy {
	return &policy.Policy{Name: name, Selects: labels.Everything(), Isolates: [2]bool{true, true}}
}

func pod(address string) *policy.Pod {
	return &policy.Pod{Name: name, Node: "here", Addr: netip.MustParseAddr(address)}
}

func start(t *testing.T) (*enforcer.Enforcer, *kernel, func()) {
	k := &kernel{}
	e := enforcer.New(enforcer.Options{Node: "here", Kernel: k, MinInterval: time.Millisecond, Logger: zaptest.NewLogger(t)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = e.Run(ctx)
	}()
	return e, k, func() { cancel(); <-done }
}

func TestNothingIsWrittenBeforeAllIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, k, stop := start(t)
		defer stop()
		k.expect(t, "nothing is known: an earlier run's table stays")
		if e.State() == nil {
			t.Error("it says that all is written")
		}
		e.SetPolicy(name, deny())
		e.PoliciesKnown()
		k.expect(t, "the pods are not known")
		if e.State() == nil {
			t.Error("it says that all is written")
		}
		e.SetPod(name, pod("10.0.0.1"))
		e.PodsKnown()
		k.expect(t, "all is known", "replace")
		if err := e.State(); err != nil {
			t.Error(err)
		}
		e.SetPod(name, pod("10.0.0.2"))
		k.expect(t, "a pod changes", "apply")
		e.SetNamespace("red", nil, true)
		k.expect(t, "something changes that no set has")
	})
}

func TestWithoutAPolicyThereIsNoTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, k, stop := start(t)
		defer stop()
		e.PoliciesKnown()
		k.expect(t, "an earlier run may have left one", "remove")
		if err := e.State(); err != nil {
			t.Error(err)
		}
		e.SetRanges(nil)
		k.expect(t, "nothing to do")
		wanted := make(chan error, 1)
		go func() { wanted <- e.Await(t.Context(), true) }()
		e.SetPolicy(name, deny())
		if err := <-wanted; err != nil {
			t.Error(err)
		}
		e.PodsKnown()
		k.expect(t, "the first policy", "replace")
		e.ForgetPods()
		e.SetRanges(nil)
		k.expect(t, "pods will be told from the beginning: the table stays")
		e.PodsKnown()
		k.expect(t, "they were", "replace")
		e.SetPolicy(name, nil)
		k.expect(t, "the last one is gone", "remove")
		e.ForgetPods()
		e.SetPolicy(name, deny())
		k.expect(t, "another one, while no pods are told")
		e.PodsKnown()
		k.expect(t, "and they are", "replace")
	})
}

func TestAfterAnErrorAllIsWrittenAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, k, stop := start(t)
		defer stop()
		e.SetPolicy(name, deny())
		e.PoliciesKnown()
		e.PodsKnown()
		k.expect(t, "at first", "replace")
		k.set(func() { k.fails = errors.New("no nft") })
		e.SetPod(name, pod("10.0.0.1"))
		k.expect(t, "a change", "apply")
		if e.State() == nil {
			t.Error("a failure is not told")
		}
		k.set(func() { k.fails = nil })
		time.Sleep(time.Second)
		k.expect(t, "later", "replace")
		if err := e.State(); err != nil {
			t.Error(err)
		}
	})
}

func TestSomebodyElsesChangeIsMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, k, stop := start(t)
		defer stop()
		e.SetPolicy(name, deny())
		e.PoliciesKnown()
		e.PodsKnown()
		k.expect(t, "at first", "replace")
		e.Disturbed()
		k.expect(t, "the table is gone", "count", "replace")
		want := filter.NewTable("here")
		want.SetPolicy(name, deny())
		want.Delta()
		want.Commit()
		k.set(func() { k.found, k.count = true, want.Count() })
		e.Disturbed()
		k.expect(t, "another's table changed", "count")
		k.set(func() { k.count.Rules["ingress"]-- })
		e.Disturbed()
		k.expect(t, "a rule is gone", "count", "replace")
	})
}
