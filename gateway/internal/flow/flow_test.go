package flow

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/util/flowcontrol"
	width "k8s.io/apiserver/pkg/util/flowcontrol/request"

	"kubus.dev/proto"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/statelog"
)

func TestSeatsOfABulk(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n          int
		most, want uint64
	}{{1, 0, 1}, {10, 0, 1}, {11, 0, 2}, {1000, 0, 100}, {1000, 15, 15}, {0, 15, 1}} {
		if got := seats(c.n, c.most); got != c.want {
			t.Errorf("%d members where a request may take %d: got %d, want %d", c.n, c.most, got, c.want)
		}
	}
}

// world is a Fairness over a log of its own.
type world struct {
	*Fairness
	log *statelog.Log
}

func start(t *testing.T, seats int) *world {
	t.Helper()
	conn := bustest.Start(t)
	ctx, cancel := context.WithCancel(context.Background())
	views := statelog.OpenViews(ctx, conn, zap.NewNop())
	log, err := statelog.OpenLog(ctx, conn, views, 1, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	f, err := New(Options{
		Seats: seats, View: log.View, API: http.NewFileTransport(http.Dir(t.TempDir())),
		LongRunning: func(_ *http.Request, info *request.RequestInfo) bool { return info.Verb == "watch" },
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	w := &world{f, log}
	w.becomes(t, "system:serviceaccount:a:b", []string{"system:serviceaccounts"}, "workload-low")
	return w
}

func (w *world) put(t *testing.T, gr proto.GroupResource, obj metav1.Object) {
	t.Helper()
	data, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.log.Commit(t.Context(), statelog.Write{Key: proto.Key{GroupResource: gr, Name: obj.GetName()}, Data: data}); err != nil {
		t.Fatal(err)
	}
}

func who(name string, groups ...string) user.Info {
	return &user.DefaultInfo{Name: name, Groups: append(groups, user.AllAuthenticated)}
}

// level is the priority level of a user's GET of pods.
func (w *world) level(u user.Info) (level string) {
	w.control.Handle(context.Background(), flowcontrol.RequestDigest{User: u, RequestInfo: getPods()},
		func(_ *flowcontrolv1.FlowSchema, l *flowcontrolv1.PriorityLevelConfiguration, _ string) {
			level = l.Name
		},
		func() width.WorkEstimate { return width.WorkEstimate{InitialSeats: 1} }, func(bool) {}, func() {})
	return level
}

func (w *world) becomes(t *testing.T, name string, groups []string, want string) {
	t.Helper()
	got := ""
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if got = w.level(who(name, groups...)); got == want {
			return
		}
	}
	t.Fatalf("%s is of the level %s, want %s", name, got, want)
}

func getPods() *request.RequestInfo {
	return &request.RequestInfo{IsResourceRequest: true, Verb: "get", APIPrefix: "api", APIVersion: "v1", Resource: "pods", Namespace: "a", Name: "x", Path: "/api/v1/namespaces/a/pods/x"}
}

func get(u user.Info, info *request.RequestInfo) *http.Request {
	r := httptest.NewRequest("GET", info.Path, nil)
	return r.WithContext(request.WithUser(request.WithRequestInfo(r.Context(), info), u))
}

// tiny makes a level of one seat that refuses what it cannot seat, for one user.
func (w *world) tiny(t *testing.T, name string) {
	t.Helper()
	one := int32(1)
	w.put(t, levels, &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "tiny"}, Spec: flowcontrolv1.PriorityLevelConfigurationSpec{
		Type:    flowcontrolv1.PriorityLevelEnablementLimited,
		Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{NominalConcurrencyShares: &one, LendablePercent: new(int32), BorrowingLimitPercent: new(int32), LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject}},
	}})
	w.put(t, schemas, &flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: "tiny", UID: "schema-uid"}, Spec: flowcontrolv1.FlowSchemaSpec{
		PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: "tiny"}, MatchingPrecedence: 50,
		Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
			Subjects:         []flowcontrolv1.Subject{{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: name}}},
			ResourceRules:    []flowcontrolv1.ResourcePolicyRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}, Namespaces: []string{"*"}, ClusterScope: true}},
			NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}}},
		}},
	}})
	w.becomes(t, name, nil, "tiny")
}

func TestUpstreamsLevelsActWithoutObjects(t *testing.T) {
	w := start(t, 600)
	for _, c := range []struct {
		name, group, want string
	}{
		{"admin", user.SystemPrivilegedGroup, "exempt"},
		{"system:kube-scheduler", "", "workload-high"},
		{"system:node:n", user.NodesGroup, "system"},
		{"system:serviceaccount:kube-system:x", "system:serviceaccounts:kube-system", "workload-high"},
		{"alice", "", "global-default"},
	} {
		w.becomes(t, c.name, []string{c.group}, c.want)
	}
}

func TestAFullLevelRefusesItsOwnAndNobodyElse(t *testing.T) {
	w := start(t, 100)
	w.tiny(t, "greedy")
	in, release := make(chan struct{}, 10), make(chan struct{})
	h := w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if u, _ := request.UserFrom(r.Context()); u.GetName() == "greedy" {
			in <- struct{}{}
			<-release
		}
	}))
	serve := func(name string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, get(who(name), getPods()))
		return rec
	}
	var wait sync.WaitGroup
	wait.Go(func() { serve("greedy") })
	<-in
	rec := serve("greedy")
	if rec.Code != http.StatusTooManyRequests || rec.Header().Get("Retry-After") == "" || rec.Body.String() != "Too many requests, please try again later.\n" {
		t.Errorf("the second request of a level with one seat: got %d %v %q", rec.Code, rec.Header(), rec.Body)
	}
	if got := rec.Header().Get("X-Kubernetes-PF-FlowSchema-UID"); got != "schema-uid" {
		t.Errorf("the answer names the flow schema %q", got)
	}
	if err := w.Bulk(t.Context(), who("greedy"), 3, func(context.Context) { t.Error("a bulk ran without a seat") }); !apierrors.IsTooManyRequests(err) {
		t.Errorf("a bulk of a full level: got %v", err)
	}
	if rec := serve("alice"); rec.Code != http.StatusOK {
		t.Errorf("another user: got %d", rec.Code)
	}
	close(release)
	wait.Wait()
	if rec := serve("greedy"); rec.Code != http.StatusOK {
		t.Errorf("when the seat is free: got %d", rec.Code)
	}
	if _, err := w.log.Commit(t.Context(), statelog.Write{Key: proto.Key{GroupResource: schemas, Name: "tiny"}, Expect: w.log.View(schemas).Get(schemas, "", "tiny").Revision(), Data: []byte(`{"metadata":{"name":"tiny"}}`), Delete: true}); err != nil {
		t.Fatal(err)
	}
	w.becomes(t, "greedy", nil, "global-default")
}

func TestMembersOfABulkSitOnItsSeats(t *testing.T) {
	w := start(t, 100)
	w.tiny(t, "greedy")
	h := w.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	served := 0
	err := w.Bulk(t.Context(), who("greedy"), 1000, func(ctx context.Context) {
		for range 20 { // of an atomic bulk all are in hand at a time, on a level of one seat
			rec := httptest.NewRecorder()
			r := get(who("greedy"), getPods())
			h.ServeHTTP(rec, r.WithContext(request.WithUser(request.WithRequestInfo(ctx, getPods()), who("greedy"))))
			if rec.Code == http.StatusOK {
				served++
			}
		}
	})
	if err != nil || served != 20 {
		t.Errorf("%d of 20 members were served, %v", served, err)
	}
}

func TestAWatchHoldsItsSeatOnlyWhileItBegins(t *testing.T) {
	w := start(t, 100)
	w.tiny(t, "watcher")
	begun, release := make(chan struct{}), make(chan struct{})
	h := w.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if info, _ := request.RequestInfoFrom(r.Context()); info.Verb == "watch" {
			flowcontrol.WatchInitialized(r.Context())
			close(begun)
			<-release
		}
	}))
	watch := getPods()
	watch.Verb, watch.Name = "watch", ""
	var wait sync.WaitGroup
	wait.Go(func() { h.ServeHTTP(httptest.NewRecorder(), get(who("watcher"), watch)) })
	<-begun
	eventually(t, "beside a watch that has begun another request is served", func() bool {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, get(who("watcher"), getPods()))
		return rec.Code == http.StatusOK
	})
	close(release)
	wait.Wait()
}

func TestSizesComeOfTheView(t *testing.T) {
	w := start(t, 100)
	pods := proto.GroupResource{Resource: "pods"}
	if _, err := sizes(w.log.View)("pods"); !errors.Is(err, width.ObjectCountNotFoundErr) {
		t.Errorf("of nothing: got %v", err)
	}
	for _, name := range []string{"a", "b", "c"} {
		w.put(t, pods, &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	got, err := sizes(w.log.View)("pods")
	if err != nil || got.ObjectCount != 3 || got.EstimatedAverageObjectSizeBytes < 20 || got.EstimatedAverageObjectSizeBytes > 200 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
