package probe

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"kubus.dev/services/agent/internal/runtime"
)

// scripted answers exec probes with the codes given, the last one for ever.
type scripted struct {
	mu    sync.Mutex
	codes []int
	at    []time.Time
}

func (s *scripted) Exec(context.Context, string, runtime.ExecOptions) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = append(s.at, time.Now())
	code := s.codes[0]
	if len(s.codes) > 1 {
		s.codes = s.codes[1:]
	}
	return code, nil
}

func (s *scripted) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.at)
}

func exec(period, failures, successes int32) *corev1.Probe {
	return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"x"}}}, PeriodSeconds: period, FailureThreshold: failures, SuccessThreshold: successes, TimeoutSeconds: 1}
}

// run plays a container with one probe for some time and gives the result at the end.
func run(t *testing.T, c *corev1.Container, codes []int, d time.Duration) (Result, int, []string) {
	t.Helper()
	var r Result
	var n int
	var events []string
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &scripted{codes: codes}
		var mu sync.Mutex
		m := New(NewRunner(s), func(_ *corev1.Pod, _ *corev1.Container, _, text string) {
			mu.Lock()
			events = append(events, text)
			mu.Unlock()
		}, func(types.UID) {})
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = m.Run(ctx)
		}()
		pod := &corev1.Pod{}
		pod.UID = "u"
		m.Sync(pod, "", []Target{{Container: c, ContainerID: "id", StartedAt: time.Now()}})
		time.Sleep(d)
		synctest.Wait()
		r, n = m.Result("u", c.Name, "id"), s.times()
		m.Remove("u")
		cancel()
		<-done
	})
	return r, n, events
}

func TestProbes(t *testing.T) {
	t.Parallel()
	delayed := exec(1, 1, 1)
	delayed.InitialDelaySeconds = 5
	for name, c := range map[string]struct {
		container corev1.Container
		codes     []int
		after     time.Duration
		want      Result
		asked     int
	}{
		"ready at the first success":                {corev1.Container{ReadinessProbe: exec(10, 3, 1)}, []int{0}, 100 * time.Millisecond, Result{Started: true, Ready: true}, 1},
		"not ready before it":                       {corev1.Container{ReadinessProbe: exec(10, 3, 1)}, []int{1}, 100 * time.Millisecond, Result{Started: true}, 1},
		"asked once a period":                       {corev1.Container{ReadinessProbe: exec(10, 3, 1)}, []int{0}, 35 * time.Second, Result{Started: true, Ready: true}, 4},
		"a few failures change nothing":             {corev1.Container{ReadinessProbe: exec(1, 3, 1)}, []int{0, 1, 1, 0}, 3500 * time.Millisecond, Result{Started: true, Ready: true}, 4},
		"as many as the threshold do":               {corev1.Container{ReadinessProbe: exec(1, 3, 1)}, []int{0, 1, 1, 1}, 3500 * time.Millisecond, Result{Started: true}, 4},
		"several successes may be needed":           {corev1.Container{ReadinessProbe: exec(1, 3, 3)}, []int{0}, 1500 * time.Millisecond, Result{Started: true}, 2},
		"nothing before the initial delay":          {corev1.Container{ReadinessProbe: delayed}, []int{0}, 4900 * time.Millisecond, Result{Started: true}, 0},
		"a failing liveness probe kills":            {corev1.Container{Name: "c", LivenessProbe: exec(1, 2, 1)}, []int{1}, 10 * time.Second, Result{Started: true, Ready: true, Kill: "Container c failed liveness probe, will be restarted"}, 2},
		"liveness waits for startup":                {corev1.Container{Name: "c", StartupProbe: exec(1, 30, 1), LivenessProbe: exec(1, 1, 1)}, []int{1}, 5500 * time.Millisecond, Result{}, 6},
		"a startup probe is over once it succeeded": {corev1.Container{Name: "c", StartupProbe: exec(1, 30, 1)}, []int{1, 0}, 10 * time.Second, Result{Started: true, Ready: true}, 2},
		"a startup probe that never succeeds kills": {corev1.Container{Name: "c", StartupProbe: exec(1, 3, 1)}, []int{1}, 10 * time.Second, Result{Kill: "Container c failed startup probe, will be restarted"}, 3},
		"readiness follows startup":                 {corev1.Container{Name: "c", StartupProbe: exec(1, 3, 1), ReadinessProbe: exec(1, 3, 1)}, []int{0}, 100 * time.Millisecond, Result{Started: true, Ready: true}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			got, asked, events := run(t, &c.container, c.codes, c.after)
			if got != c.want || asked != c.asked {
				t.Errorf("got %+v after %d questions (%q), want %+v after %d", got, asked, events, c.want, c.asked)
			}
		})
	}
}

func action(t *testing.T, raw, path string) (*corev1.HTTPGetAction, string) {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort(u.Host)
	return &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(int32(addr.Port())), Scheme: corev1.URIScheme(strings.ToUpper(u.Scheme))}, addr.Addr().String()
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			if r.Header.Get("User-Agent") != UserAgent || r.Header.Get("Accept") != "*/*" {
				w.WriteHeader(500)
			}
		case "/bad":
			w.WriteHeader(503)
		case "/away":
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		case "/here":
			http.Redirect(w, r, "/bad", http.StatusFound)
		}
	})
	r := NewRunner(nil)
	for _, start := range []func(http.Handler) *httptest.Server{httptest.NewServer, httptest.NewTLSServer} {
		srv := start(h)
		defer srv.Close()
		for path, want := range map[string]Outcome{
			"/ok":   {OK: true},
			"/away": {OK: true, Warning: true, Message: "Probe terminated redirects, Response body: <a href=\"http://192.0.2.1/\">Found</a>.\n\n"},
			"/bad":  {Message: "HTTP probe failed with statuscode: 503"}, "/here": {Message: "HTTP probe failed with statuscode: 503"},
		} {
			get, ip := action(t, srv.URL, path)
			got := r.Run(t.Context(), &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: get}}, &corev1.Container{}, "", ip)
			if got != want {
				t.Errorf("%s%s: got %+v, want %+v", srv.URL, path, got, want)
			}
		}
	}
}

func TestGRPC(t *testing.T) {
	t.Parallel()
	status := byte(1)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = w.Write([]byte{0, 0, 0, 0, 2, 8, status})
		w.Header().Set("Grpc-Status", "0")
	}))
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	defer srv.Close()
	get, ip := action(t, srv.URL, "")
	r := NewRunner(nil)
	p := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: get.Port.IntVal}}}
	if got := r.Run(t.Context(), p, &corev1.Container{}, "", ip); !got.OK {
		t.Errorf("serving: %+v", got)
	}
	status = 2
	if got := r.Run(t.Context(), p, &corev1.Container{}, "", ip); got.OK || got.Message != `service unhealthy (responded with "NOT_SERVING")` {
		t.Errorf("not serving: %+v", got)
	}
}

func TestPort(t *testing.T) {
	t.Parallel()
	c := &corev1.Container{Name: "c", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}}
	for _, x := range []struct {
		p    intstr.IntOrString
		want int
		err  string
	}{{intstr.FromString("http"), 8080, ""}, {intstr.FromInt32(1), 1, ""}, {intstr.FromString("90"), 90, ""}, {intstr.FromString("no"), 0, `couldn't find port: "no" in "c"`}, {intstr.FromInt32(0), 0, "invalid port number: 0"}} {
		got, err := Port(x.p, c)
		if got != x.want && x.err == "" || err != nil && err.Error() != x.err || err == nil && x.err != "" {
			t.Errorf("%v: %d, %v", x.p, got, err)
		}
	}
}

func TestAttemptsAreCountedAsUpstreamDoesUntilTheProbeIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		s := &scripted{codes: []int{0, 1, 1, 0}}
		m := New(NewRunner(s), func(*corev1.Pod, *corev1.Container, string, string) {}, func(types.UID) {})
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = m.Run(ctx)
		}()
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u"}}
		c := &corev1.Container{Name: "c", ReadinessProbe: exec(1, 3, 1)}
		m.Sync(pod, "", []Target{{Container: c, ContainerID: "id", StartedAt: time.Now()}})
		time.Sleep(3500 * time.Millisecond)
		synctest.Wait()
		const head = "# HELP prober_probe_total [BETA] Cumulative number of a liveness, readiness or startup probe for a container by result.\n# TYPE prober_probe_total counter\n"
		want := head + `prober_probe_total{container="c",namespace="ns",pod="p",pod_uid="u",probe_type="Readiness",result="failed"} 2
prober_probe_total{container="c",namespace="ns",pod="p",pod_uid="u",probe_type="Readiness",result="successful"} 2
`
		if err := testutil.CollectAndCompare(m, strings.NewReader(want), "prober_probe_total"); err != nil {
			t.Error(err)
		}
		if n := testutil.CollectAndCount(m, "prober_probe_duration_seconds"); n != 1 {
			t.Errorf("%d histograms of times, want that of the probe", n)
		}
		m.Remove("u")
		if n := testutil.CollectAndCount(m); n != 0 {
			t.Errorf("%d series stay of a probe that is gone", n)
		}
		cancel()
		<-done
	})
}
