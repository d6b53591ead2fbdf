package flow

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto"
)

// deaf is a client that does not take what is written to it until release.
type deaf struct {
	*httptest.ResponseRecorder
	begun   chan struct{}
	once    sync.Once
	release chan struct{}
}

func newDeaf() *deaf {
	return &deaf{ResponseRecorder: httptest.NewRecorder(), begun: make(chan struct{}), release: make(chan struct{})}
}

func (d *deaf) Write(p []byte) (int, error) {
	d.once.Do(func() { close(d.begun) })
	<-d.release
	return d.ResponseRecorder.Write(p)
}

// Who does not read keeps nobody from a seat, and has its answer when it reads.
func TestAClientThatDoesNotReadGivesItsSeatUp(t *testing.T) {
	w := start(t, 100)
	w.tiny(t, "greedy")
	h := w.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("an "))
		_, _ = w.Write([]byte("answer"))
	}))
	client := newDeaf()
	var wait sync.WaitGroup
	wait.Go(func() { h.ServeHTTP(client, get(who("greedy"), getPods())) })
	<-client.begun
	eventually(t, "another request has the level's only seat", func() bool {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, get(who("greedy"), getPods()))
		return rec.Code == http.StatusOK
	})
	close(client.release)
	wait.Wait()
	if got := client.Body.String(); got != "an answer" {
		t.Errorf("got %q", got)
	}
}

// large is a write that takes its turn.
func large(name string) *http.Request {
	info := getPods()
	info.Verb = "create"
	r := get(who(name), info)
	r.Method, r.ContentLength = http.MethodPost, costlyBody+1
	return r
}

func TestCostlyRequestsTakeTurnsAndGiveThemUpToWhoReads(t *testing.T) {
	w := start(t, 100)
	w.lane = newLane(1)
	var mu sync.Mutex
	at, most := 0, 0
	h := w.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		mu.Lock()
		at++
		most = max(most, at)
		mu.Unlock()
		runtime.Gosched()
		mu.Lock()
		at--
		mu.Unlock()
	}))
	var wait sync.WaitGroup
	for range 50 {
		for _, name := range []string{"a", "b", "c"} {
			wait.Go(func() {
				rec := httptest.NewRecorder()
				if h.ServeHTTP(rec, large(name)); rec.Code != http.StatusOK {
					t.Errorf("%s: got %d", name, rec.Code)
				}
			})
		}
	}
	wait.Wait()
	if most != 1 || w.lane.busy != 0 {
		t.Errorf("%d were served at a time, %d are", most, w.lane.busy)
	}
	slow := w.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")) }))
	client := newDeaf()
	wait.Go(func() { slow.ServeHTTP(client, large("a")) })
	<-client.begun
	rec := httptest.NewRecorder()
	if slow.ServeHTTP(rec, large("b")); rec.Code != http.StatusOK {
		t.Errorf("beside who does not read: got %d", rec.Code)
	}
	close(client.release)
	wait.Wait()
	if w.lane.busy != 0 {
		t.Errorf("%d are served after all", w.lane.busy)
	}
}

// A costly request that is refused a seat, or waits for one, keeps nobody in the lane.
func TestTheLaneWaitsForNoSeats(t *testing.T) {
	w := start(t, 100)
	w.tiny(t, "greedy")
	w.lane = newLane(1)
	in, release := make(chan struct{}), make(chan struct{})
	h := w.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			close(in)
			<-release
		}
	}))
	var wait sync.WaitGroup
	wait.Go(func() { h.ServeHTTP(httptest.NewRecorder(), get(who("greedy"), getPods())) })
	<-in
	rec := httptest.NewRecorder()
	if h.ServeHTTP(rec, large("greedy")); rec.Code != http.StatusTooManyRequests {
		t.Errorf("of a full level: got %d", rec.Code)
	}
	rec = httptest.NewRecorder()
	if h.ServeHTTP(rec, large("polite")); rec.Code != http.StatusOK {
		t.Errorf("behind one that was refused: got %d", rec.Code)
	}
	close(release)
	wait.Wait()
	if w.lane.busy != 0 {
		t.Errorf("%d are served after all", w.lane.busy)
	}
}

func TestWhatIsCostly(t *testing.T) {
	w := start(t, 100)
	note := strings.Repeat("x", 100<<10)
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"} {
		w.put(t, proto.GroupResource{Resource: "configmaps"}, &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"note": note}}})
	}
	for _, c := range []struct {
		verb, resource, query string
		body                  int64
		want                  bool
	}{
		{"create", "pods", "", costlyBody, false},
		{"create", "pods", "", costlyBody + 1, true},
		{"patch", "pods", "", -1, true},
		{"delete", "pods", "", -1, false},
		{"list", "pods", "", 0, false},
		{"list", "configmaps", "", 0, true},
		{"list", "configmaps", "limit=10", 0, false},
		{"list", "configmaps", "limit=10&resourceVersion=0", 0, true},
		{"deletecollection", "configmaps", "", 0, true},
		{"watch", "configmaps", "", 0, true},
		{"watch", "configmaps", "resourceVersion=0", 0, true},
		{"watch", "configmaps", "resourceVersion=5", 0, false},
		{"watch", "configmaps", "resourceVersion=5&sendInitialEvents=true", 0, true},
	} {
		info := getPods()
		info.Verb, info.Resource, info.Name, info.Namespace = c.verb, c.resource, "", ""
		r := get(who("somebody"), info)
		r.ContentLength, r.URL.RawQuery = c.body, c.query
		if got := w.costly(r, info); got != c.want {
			t.Errorf("%s %s?%s with %d bytes: got %t", c.verb, c.resource, c.query, c.body, got)
		}
	}
}
