package static

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/bustest/apitest"
)

// node is what surrounds a Source: pods that do what they are told, and reports.
type node struct {
	mu      sync.Mutex
	given   []string
	reports []string
	events  []string
	uid     types.UID
}

func (n *node) Update(p *corev1.Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	verb := "run "
	if p.DeletionTimestamp != nil {
		verb = "end "
	}
	n.given = append(n.given, verb+p.Name)
}

func (n *node) Status(p *corev1.Pod, s *corev1.PodStatus, _ bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reports = append(n.reports, string(p.UID)+" "+string(s.Phase))
	return nil
}

func (n *node) Forget(types.UID)                     {}
func (n *node) Pod(_ *corev1.Pod, _, _, _, _ string) {}
func (n *node) Node(_, reason, message string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = append(n.events, reason+": "+message)
}

func (n *node) took() (given, reports []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	given, reports = n.given, n.reports
	n.given, n.reports = nil, nil
	return given, reports
}

func (n *node) nodeUID() types.UID {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.uid
}

func source(n *node, api *apitest.API, dir string) *Source {
	s := New()
	s.Folder, s.Pods, s.Out, s.Events, s.Log = &Folder{Dir: dir, Node: "n"}, n, n, n, zap.NewNop()
	s.NodeUID, s.API = n.nodeUID, api.Client("system:node:n")
	return s
}

func TestPodsStartWithoutTheAPIAndThoseOfBeforeGoOnOrEnd(t *testing.T) {
	t.Parallel()
	dir, n := t.TempDir(), &node{}
	put(t, filepath.Join(dir, "new.yaml"), named("new"))
	put(t, filepath.Join(dir, "kept.yaml"), named("kept"))
	put(t, filepath.Join(dir, "bad.yaml"), "{")
	s := source(n, apitest.New(), dir)
	kept, err := Parse([]byte(named("kept")), filepath.Join(dir, "kept.yaml"), "n")
	if err != nil {
		t.Fatal(err)
	}
	gone, err := Parse([]byte(named("gone")), filepath.Join(dir, "gone.yaml"), "n")
	if err != nil {
		t.Fatal(err)
	}
	s.Adopt(kept, nil)
	s.Adopt(gone, nil)
	s.Begin()
	given, _ := n.took()
	slices.Sort(given)
	if want := []string{"end gone-n", "run gone-n", "run kept-n", "run new-n"}; !slices.Equal(given, want) {
		t.Errorf("got %q, want %q", given, want)
	}
	if len(n.events) != 1 || !strings.HasPrefix(n.events[0], "FailedStaticPod: ") {
		t.Errorf("events %q", n.events)
	}
}

func TestTheLifeOfAMirror(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "p.yaml")
	put(t, path, named("p"))
	synctest.Test(t, func(t *testing.T) {
		n, api := &node{}, apitest.New()
		made, has := 0, false // has: nobody has deleted the one that was made
		api.Answer("/api/v1/namespaces/default/pods", func(body []byte) (any, error) {
			m := &corev1.Pod{}
			if err := json.Unmarshal(body, m); err != nil {
				return nil, err
			}
			n.mu.Lock()
			defer n.mu.Unlock()
			if has {
				return nil, apierrors.NewAlreadyExists(schema.GroupResource{Resource: "pods"}, m.Name)
			}
			made, has = made+1, true
			return m, nil
		})
		s := source(n, api, dir)
		watched := s.Folder
		s.read()
		s.Folder = nil // inotify stays outside of the bubble
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		given, _ := n.took()
		if !slices.Equal(given, []string{"run p-n"}) {
			t.Errorf("given %q", given)
		}
		pod := s.world.Wanted["default/p-n"]
		if err := s.Status(pod, &corev1.PodStatus{Phase: corev1.PodRunning}, false); err != nil {
			t.Error(err)
		}
		s.Synced()
		synctest.Wait()
		if _, reports := n.took(); made != 0 || len(reports) != 0 {
			t.Errorf("before the node is in the API %d mirrors were made, and %q reported", made, reports)
		}
		n.mu.Lock()
		n.uid = "node"
		n.mu.Unlock()
		time.Sleep(retryFirst)
		synctest.Wait()
		if made != 1 {
			t.Fatalf("%d mirrors were made", made)
		}
		m := Mirror(pod, "node")
		m.UID = "m1"
		s.Update(m)
		if _, reports := n.took(); !slices.Equal(reports, []string{"m1 Running"}) {
			t.Errorf("a new mirror is told %q", reports)
		}
		if s.UID("m1") != pod.UID || s.UID("other") != "other" {
			t.Errorf("m1 is %s, another one %s", s.UID("m1"), s.UID("other"))
		}
		n.mu.Lock()
		has = false
		n.mu.Unlock()
		s.Remove(m) // somebody has deleted it
		synctest.Wait()
		if given, _ := n.took(); made != 2 || len(given) != 0 {
			t.Errorf("%d mirrors were made, the pod was told %q", made, given)
		}
		m.UID = "m2"
		s.Update(m)

		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		s.Folder = watched
		s.read()
		s.kick()
		synctest.Wait()
		if given, _ := n.took(); !slices.Equal(given, []string{"end p-n"}) || slices.ContainsFunc(api.Requests(), isDelete) {
			t.Errorf("the pod was told %q, the API asked %q", given, api.Requests())
		}
		s.Ended(pod)
		synctest.Wait()
		if !slices.ContainsFunc(api.Requests(), isDelete) {
			t.Errorf("the mirror stays: the API was asked %q", api.Requests())
		}
		s.Remove(m)
		synctest.Wait()
		if made != 2 {
			t.Errorf("%d mirrors were made", made)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func isDelete(request string) bool { return strings.HasPrefix(request, "DELETE ") }
