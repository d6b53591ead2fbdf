package podgc

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

// api is a cluster: it serves reads of nodes and lets writes show in the mirrors.
type api struct {
	mu       sync.Mutex
	world    *mirror.World
	revision uint64
	hidden   map[string]bool // nodes that exist and that the mirror does not show yet
	asked    []string        // METHOD path, of all requests
	refuse   string          // a request that ends so fails once
}

func (a *api) Do(_ context.Context, r apiclient.Request) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, r.Method+" "+r.Path)
	name := r.Path[strings.LastIndex(r.Path, "/")+1:]
	if a.hidden[name] || a.world.Nodes.Get("", name) != nil {
		return []byte("{}"), nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource("nodes"), name)
}

func (a *api) Bulk(_ context.Context, _ apiclient.BulkOptions, requests []apiclient.Request) ([]apiclient.Result, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	results := make([]apiclient.Result, len(requests))
	for i, r := range requests {
		a.asked = append(a.asked, r.Method+" "+r.Path)
		if a.refuse != "" && strings.HasSuffix(r.Path, a.refuse) {
			a.refuse = ""
			results[i].Err = apierrors.NewConflict(corev1.Resource("pods"), r.Path, nil)
			continue
		}
		results[i].Err = a.write(r)
	}
	return results, nil
}

func (a *api) write(r apiclient.Request) error {
	parts := strings.Split(r.Path, "/") // "", api, v1, namespaces, NS, pods, NAME, …
	old := a.world.Pods.Get(parts[4], parts[6])
	if old == nil {
		return apierrors.NewNotFound(corev1.Resource("pods"), parts[6])
	}
	p := old.DeepCopy()
	a.revision++
	p.ResourceVersion = fmt.Sprint(a.revision)
	switch {
	case r.Method == "PATCH":
		if err := json.Unmarshal(r.Body, p); err != nil {
			return err
		}
	case len(p.Finalizers) == 0:
		a.world.Pods.Drop(a.revision, p.Namespace, p.Name)
		return nil
	default:
		terminating(0)(p)
	}
	a.world.Pods.Put(a.revision, p)
	return nil
}

func (a *api) put(pods ...*corev1.Pod) {
	for _, p := range pods {
		a.revision++
		p.ResourceVersion = fmt.Sprint(a.revision)
		a.world.Pods.Put(a.revision, p)
	}
}

func (a *api) writes() (all []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.asked {
		if !strings.HasPrefix(r, "GET") {
			all = append(all, r)
		}
	}
	return all
}

// collect runs a collector while play goes on, in made-up time.
func collect(t *testing.T, threshold int, play func(a *api)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a := &api{world: mirror.NewWorld(), hidden: map[string]bool{}}
		env := frame.NewEnv("podgc", "", a.world, write.New(a, nil), &frame.Settings{TerminatedPodThreshold: threshold}, zap.NewNop())
		loop, err := Controller().Make(env)
		if err != nil {
			t.Fatal(err)
		}
		defer env.End()
		ended := make(chan error, 1)
		go func() { ended <- loop.Run(ctx, 2) }()
		play(a)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func names(pods []*corev1.Pod) (all []string) {
	for _, p := range pods {
		all = append(all, p.Name)
	}
	slices.Sort(all)
	return all
}

func TestPodsOutliveTheirNodeByTheQuarantine(t *testing.T) {
	collect(t, 0, func(a *api) {
		a.world.Nodes.Put(1, newNode("n", "True"))
		a.put(newPod("a", "n", corev1.PodRunning, 0), newPod("b", "other", corev1.PodRunning, 0))
		a.world.Nodes.Put(2, newNode("other", "True"))
		time.Sleep(time.Hour)
		a.world.Nodes.Drop(3, "", "n")
		time.Sleep(quarantine - time.Second)
		if got := a.writes(); len(got) > 0 {
			t.Errorf("written within the quarantine: %q", got)
		}
		time.Sleep(2 * time.Second)
		want := []string{"PATCH /api/v1/namespaces/default/pods/a/status", "DELETE /api/v1/namespaces/default/pods/a"}
		if got := a.writes(); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if got := names(a.world.Pods.List("")); !slices.Equal(got, []string{"b"}) {
			t.Errorf("left are %q", got)
		}
	})
}

func TestANodeThatComesBackInTimeKeepsItsPods(t *testing.T) {
	collect(t, 0, func(a *api) {
		a.put(newPod("a", "n", corev1.PodRunning, 0))
		time.Sleep(quarantine - time.Second)
		a.world.Nodes.Put(1, newNode("n", "True"))
		time.Sleep(2 * time.Second)
		a.world.Nodes.Drop(2, "", "n") // missing anew: a whole quarantine
		time.Sleep(quarantine - time.Second)
		if got := a.writes(); len(got) > 0 {
			t.Errorf("written: %q", got)
		}
	})
}

func TestTheAPIHasTheLastWordOnANode(t *testing.T) {
	collect(t, 0, func(a *api) {
		a.hidden["n"] = true
		a.put(newPod("a", "n", corev1.PodRunning, 0))
		time.Sleep(time.Hour)
		if got := a.writes(); len(got) > 0 {
			t.Errorf("written: %q", got)
		}
	})
}

func TestAConflictIsTriedAgain(t *testing.T) {
	collect(t, 0, func(a *api) {
		a.refuse = "/a/status"
		a.put(newPod("a", "n", corev1.PodRunning, 0), newPod("b", "n", corev1.PodRunning, 0))
		time.Sleep(quarantine + time.Second)
		if got := names(a.world.Pods.List("")); len(got) > 0 {
			t.Errorf("left are %q", got)
		}
	})
}

func TestAPodHeldByAFinalizerIsWrittenOnce(t *testing.T) {
	collect(t, 0, func(a *api) {
		held := newPod("a", "n", corev1.PodRunning, 0)
		held.Finalizers = []string{"example.com/hold"}
		a.put(held)
		time.Sleep(time.Hour)
		if got := a.writes(); len(got) != 2 {
			t.Errorf("written: %q", got)
		}
		p := a.world.Pods.Get("default", "a")
		if p.Status.Phase != corev1.PodFailed || p.DeletionTimestamp == nil || len(p.Status.Conditions) != 1 || p.Status.Conditions[0].Reason != "DeletionByPodGC" {
			t.Errorf("got %+v", p.Status)
		}
	})
}

func TestWhatIsDueAtOnceIsDoneAtOnce(t *testing.T) {
	collect(t, 2, func(a *api) {
		a.world.Nodes.Put(1, newNode("n", "Unknown"))
		a.put(
			newPod("leaving", "n", corev1.PodRunning, 0, terminating(30)), newPod("unbound", "", corev1.PodPending, 0, terminating(30)),
			newPod("done-1", "n", corev1.PodSucceeded, 1), newPod("done-2", "n", corev1.PodSucceeded, 2), newPod("done-3", "n", corev1.PodRunning, 0),
		)
		synctest.Wait()
		if got := names(a.world.Pods.List("")); !slices.Equal(got, []string{"done-1", "done-2", "done-3", "leaving"}) {
			t.Errorf("left are %q", got)
		}
		a.world.Nodes.Put(2, newNode("n", "Unknown", corev1.TaintNodeOutOfService))
		a.put(newPod("done-3", "n", corev1.PodFailed, 0))
		synctest.Wait()
		if got := names(a.world.Pods.List("")); !slices.Equal(got, []string{"done-1", "done-2"}) {
			t.Errorf("left are %q", got)
		}
	})
}
