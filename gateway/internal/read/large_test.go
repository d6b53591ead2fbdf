package read_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/gateway/internal/read"
)

// Objects that are written from where they are kept are the same as those that are
// copied among others.
func TestLargeObjectsAreTheSameInEveryForm(t *testing.T) {
	s := start(t, nil)
	for i, size := range []int{10, 31 << 10, 40 << 10, 300 << 10, 20} {
		s.pod("a", fmt.Sprint("p", i), "n1", map[string]string{"note": strings.Repeat("x", size)})
	}
	for name, mediaType := range mediaTypes {
		t.Run(name, func(t *testing.T) {
			pods := s.client(mediaType).CoreV1().Pods("a")
			list, err := pods.List(t.Context(), metav1.ListOptions{})
			if err != nil || len(list.Items) != 5 {
				t.Fatalf("got %d pods, %v", len(list.Items), err)
			}
			w, err := pods.Watch(t.Context(), metav1.ListOptions{ResourceVersion: "0"})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			for i := range list.Items {
				want := &list.Items[i]
				got, err := pods.Get(t.Context(), want.Name, metav1.GetOptions{})
				if err != nil || len(want.Labels["note"]) == 0 || want.ResourceVersion == "" || !equality.Semantic.DeepEqual(got, want) {
					t.Errorf("%s is not the same in a list, %v", want.Name, err)
				}
				ev := <-w.ResultChan()
				if pod, ok := ev.Object.(*corev1.Pod); !ok || !equality.Semantic.DeepEqual(pod, want) {
					t.Errorf("%s is not the same in a watch: %.200v", want.Name, ev)
				}
			}
		})
	}
}

// stuck is a client that takes what is small and nothing else.
type stuck struct {
	*httptest.ResponseRecorder
	blocked *sync.WaitGroup
	once    sync.Once
	release chan struct{}
}

func (w *stuck) Write(p []byte) (int, error) {
	if len(p) < 64<<10 {
		return len(p), nil
	}
	w.once.Do(w.blocked.Done)
	<-w.release
	return 0, http.ErrHandlerTimeout
}

// Two thousand unread watches of writes of 900 KB held 2.2 GB.
func TestReadersThatDoNotReadHoldNoCopies(t *testing.T) {
	const readers, size = 100, 900 << 10
	s := start(t, nil)
	h := handler(read.New(read.Options{View: s.log.View, Barrier: s.log.Barrier}))
	s.pod("a", "large", "n1", map[string]string{"note": strings.Repeat("x", size)})
	for name, c := range map[string]struct{ path, accept string }{
		"watches":            {"/api/v1/namespaces/a/pods?watch=1&resourceVersion=0", "application/json"},
		"watches, protobuf":  {"/api/v1/namespaces/a/pods?watch=1&resourceVersion=0", "application/vnd.kubernetes.protobuf"},
		"lists":              {"/api/v1/namespaces/a/pods", "application/json"},
		"gets of one object": {"/api/v1/namespaces/a/pods/large", "application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			before := live()
			release := make(chan struct{})
			var blocked, ended sync.WaitGroup
			blocked.Add(readers)
			for range readers {
				ended.Go(func() {
					defer func() { _ = recover() }() // a list that is cut short aborts its request
					r := httptest.NewRequest(http.MethodGet, c.path, nil).WithContext(t.Context())
					r.Header.Set("Accept", c.accept)
					h.ServeHTTP(&stuck{ResponseRecorder: httptest.NewRecorder(), blocked: &blocked, release: release}, r)
				})
			}
			blocked.Wait()
			if held := int64(live()) - int64(before); held > readers*size/5 {
				t.Errorf("%d of them hold %d KiB", readers, held>>10)
			}
			close(release)
			ended.Wait()
		})
	}
}

func live() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// However much each has to be told, all watches together gather no more than their
// budget, and still everything arrives.
func TestWatchesBehindABudgetHearEverything(t *testing.T) {
	s := start(t, nil)
	const pods = 300
	s.fill(pods)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			w, err := s.client("application/json").CoreV1().Pods("a").Watch(t.Context(), metav1.ListOptions{ResourceVersion: "0"})
			if err != nil {
				t.Error(err)
				return
			}
			defer w.Stop()
			for i := range pods {
				select {
				case ev := <-w.ResultChan():
					if pod, ok := ev.Object.(*corev1.Pod); !ok || pod.Name != fmt.Sprintf("p%05d", i) {
						t.Errorf("event %d: got %.100v", i, ev)
						return
					}
				case <-time.After(time.Minute):
					t.Errorf("nothing more after %d of %d", i, pods)
					return
				}
			}
		})
	}
	all.Wait()
}
