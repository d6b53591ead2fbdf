package read_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"go.uber.org/zap"
	"golang.org/x/net/websocket"

	"kubus.dev/gateway/internal/read"
	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/statelog"
)

var kinds = resource.NewRegistry(resource.BuiltIn()).Load()

// server is a Reader over a log of its own, behind HTTP.
type server struct {
	t    testing.TB
	conn *bus.Conn
	log  *statelog.Log
	url  string
	stop func()
}

func start(t testing.TB, change func(*read.Options)) *server {
	t.Helper()
	return startOver(t, bustest.Start(t), change)
}

// startOver starts one over a log that others may read as well.
func startOver(t testing.TB, conn *bus.Conn, change func(*read.Options)) *server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	views := statelog.OpenViews(ctx, conn, zap.NewNop())
	log, err := statelog.OpenLog(ctx, conn, views, 1, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if err := views.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	o := read.Options{View: log.View, Barrier: log.Barrier}
	if change != nil {
		change(&o)
	}
	url, stop := serve(t, read.New(o))
	t.Cleanup(func() {
		stop()
		cancel()
	})
	return &server{t, conn, log, url, stop}
}

// serve answers reads over HTTP until stop is called.
func serve(t testing.TB, reader *read.Reader) (url string, stop func()) {
	t.Helper()
	hs := httptest.NewServer(handler(reader))
	return hs.URL, func() {
		hs.CloseClientConnections()
		hs.Close()
	}
}

func handler(reader *read.Reader) http.Handler {
	resolver := &request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}
	return filters.WithRequestInfo(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		info, _ := request.RequestInfoFrom(req.Context())
		gvr := schema.GroupVersionResource{Group: info.APIGroup, Version: info.APIVersion, Resource: info.Resource}
		kind := kinds.Find(gvr)
		if kind == nil {
			http.NotFound(w, req)
			return
		}
		reader.Handler(kind, gvr.GroupVersion()).ServeHTTP(w, req)
	}), resolver)
}

// fill writes pods as large as real ones, all at once.
func (s *server) fill(n int) {
	s.t.Helper()
	note := map[string]string{"app": "web", "note": strings.Repeat("x", 2500)}
	var wait sync.WaitGroup
	next := make(chan int)
	for range 64 {
		wait.Go(func() {
			for i := range next {
				s.pod("a", fmt.Sprintf("p%05d", i), "n1", note)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wait.Wait()
}

func (s *server) put(obj any, key proto.Key) uint64 {
	s.t.Helper()
	data, err := json.Marshal(obj)
	if err != nil {
		s.t.Fatal(err)
	}
	var expect uint64
	if e := s.log.View(key.GroupResource).Get(key.GroupResource, key.Namespace, key.Name); e != nil {
		expect = e.Revision()
	}
	rev, err := s.log.Commit(s.t.Context(), statelog.Write{Key: key, Expect: expect, Data: data})
	if err != nil {
		s.t.Fatal(err)
	}
	return rev
}

func (s *server) pod(ns, name, node string, labels map[string]string) uint64 {
	s.t.Helper()
	pod := &corev1.Pod{TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: "u", Labels: labels}, Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	return s.put(pod, podKey(ns, name))
}

func podKey(ns, name string) proto.Key {
	return proto.Key{GroupResource: proto.GroupResource{Resource: "pods"}, Namespace: ns, Name: name}
}

func (s *server) remove(key proto.Key) uint64 {
	s.t.Helper()
	e := s.log.View(key.GroupResource).Get(key.GroupResource, key.Namespace, key.Name)
	rev, err := s.log.Commit(s.t.Context(), statelog.Write{Key: key, Expect: e.Revision(), Data: e.Data(), Delete: true})
	if err != nil {
		s.t.Fatal(err)
	}
	return rev
}

func (s *server) client(contentType string) *kubernetes.Clientset {
	s.t.Helper()
	c, err := kubernetes.NewForConfig(&rest.Config{Host: s.url, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: contentType, AcceptContentTypes: contentType}})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *server) get(path, accept string) (int, http.Header, []byte) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, body
}

var mediaTypes = map[string]string{"JSON": "application/json", "protobuf": "application/vnd.kubernetes.protobuf"}

func TestGetAndListGiveTheSameObjectsInEveryFormat(t *testing.T) {
	s := start(t, nil)
	rev := s.pod("a", "x", "n1", map[string]string{"app": "web"})
	s.pod("a", "y", "", nil)
	last := s.pod("b", "x", "n1", nil)
	for name, mediaType := range mediaTypes {
		t.Run(name, func(t *testing.T) {
			c := s.client(mediaType)
			pod, err := c.CoreV1().Pods("a").Get(t.Context(), "x", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if pod.Name != "x" || pod.ResourceVersion != fmt.Sprint(rev) || pod.Spec.Containers[0].Image != "i" || pod.Labels["app"] != "web" {
				t.Errorf("got %+v", pod)
			}
			for what, q := range map[string]struct {
				ns   string
				o    metav1.ListOptions
				want string
			}{
				"everything":        {"", metav1.ListOptions{}, "a/x a/y b/x"},
				"one namespace":     {"a", metav1.ListOptions{}, "a/x a/y"},
				"by label":          {"", metav1.ListOptions{LabelSelector: "app=web"}, "a/x"},
				"by node":           {"", metav1.ListOptions{FieldSelector: "spec.nodeName=n1"}, "a/x b/x"},
				"by node and space": {"b", metav1.ListOptions{FieldSelector: "spec.nodeName=n1"}, "b/x"},
				"not on that node":  {"", metav1.ListOptions{FieldSelector: "spec.nodeName!=n1"}, "a/y"},
				"without a node":    {"", metav1.ListOptions{FieldSelector: "spec.nodeName="}, "a/y"},
				"by name":           {"a", metav1.ListOptions{FieldSelector: "metadata.name=y"}, "a/y"},
				"by decoded field":  {"", metav1.ListOptions{FieldSelector: "spec.hostNetwork=false"}, "a/x a/y b/x"},
				"not older":         {"", metav1.ListOptions{ResourceVersion: fmt.Sprint(last), ResourceVersionMatch: "NotOlderThan"}, "a/x a/y b/x"},
				"exactly now":       {"", metav1.ListOptions{ResourceVersion: fmt.Sprint(last), ResourceVersionMatch: "Exact"}, "a/x a/y b/x"},
				"any":               {"", metav1.ListOptions{ResourceVersion: "0"}, "a/x a/y b/x"},
			} {
				list, err := c.CoreV1().Pods(q.ns).List(t.Context(), q.o)
				if err != nil {
					t.Errorf("%s: %v", what, err)
					continue
				}
				var got []string
				for _, p := range list.Items {
					got = append(got, p.Namespace+"/"+p.Name)
					if p.ResourceVersion == "" || p.Spec.Containers == nil {
						t.Errorf("%s: half an object: %+v", what, p)
					}
				}
				if strings.Join(got, " ") != q.want || list.ResourceVersion != fmt.Sprint(last) {
					t.Errorf("%s: got %v at %s, want %s at %d", what, got, list.ResourceVersion, q.want, last)
				}
			}
		})
	}
}

func TestItemsOfAListCarryNoKindAsUpstreams(t *testing.T) {
	s := start(t, nil)
	s.pod("a", "x", "", nil)
	_, header, body := s.get("/api/v1/pods", "application/json")
	if !bytes.HasPrefix(body, []byte(`{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"`)) || bytes.Contains(body, []byte(`"kind":"Pod"`)) {
		t.Errorf("got %s", body)
	}
	if header.Get("Content-Type") != "application/json" {
		t.Errorf("got %v", header)
	}
	if _, _, body := s.get("/api/v1/nodes", "application/json"); !bytes.Contains(body, []byte(`"items":[]`)) {
		t.Errorf("an empty list: got %s", body)
	}
}

func TestErrorsAreUpstreams(t *testing.T) {
	s := start(t, nil)
	s.pod("a", "w", "", nil)
	last := s.pod("a", "x", "", nil)
	for name, c := range map[string]struct {
		path, accept string
		code         int
		message      string
	}{
		"no such object":        {"/api/v1/namespaces/a/pods/nope", "", 404, `pods "nope" not found`},
		"unknown field":         {"/api/v1/pods?fieldSelector=spec.foo%3Dbar", "", 400, `field label not supported: spec.foo`},
		"broken selector":       {"/api/v1/pods?labelSelector=a%20b", "", 400, `unable to parse requirement`},
		"no such format":        {"/api/v1/pods", "application/x-nothing", 406, `only the following media types are accepted`},
		"a revision to come":    {fmt.Sprintf("/api/v1/pods?resourceVersion=%d", last+1000), "", 504, fmt.Sprintf("Too large resource version: %d", last+1000)},
		"no number":             {"/api/v1/pods?resourceVersion=abc", "", 400, "invalid resource version"},
		"a broken token":        {"/api/v1/pods?limit=1&continue=abc", "", 400, "invalid continue token: continue key is not valid"},
		"match without version": {"/api/v1/pods?resourceVersionMatch=Exact", "", 422, "resourceVersionMatch is forbidden unless resourceVersion is provided"},
		"one for a list":        {"/api/v1/pods", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", 406, "you requested PartialObjectMetadata, but the requested object is a list (*core.PodList)"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, body := s.get(c.path, c.accept)
			var status metav1.Status
			if err := json.Unmarshal(body, &status); err != nil {
				t.Fatalf("got %d %s", code, body)
			}
			if code != c.code || !strings.Contains(status.Message, c.message) {
				t.Errorf("got %d %q, want %d %q", code, status.Message, c.code, c.message)
			}
		})
	}
}

func TestPagesShowOnePointInTime(t *testing.T) {
	s := start(t, nil)
	for i := range 10 {
		s.pod("a", fmt.Sprintf("p%d", i), "", nil)
	}
	c := s.client("application/json").CoreV1().Pods("")
	first, err := c.List(t.Context(), metav1.ListOptions{Limit: 4})
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Items) != 4 || first.Continue == "" || first.RemainingItemCount == nil || *first.RemainingItemCount != 6 {
		t.Fatalf("got %d items, continue %q, remaining %v", len(first.Items), first.Continue, first.RemainingItemCount)
	}
	s.pod("a", "p44", "", nil)
	s.remove(podKey("a", "p5"))
	second, err := c.List(t.Context(), metav1.ListOptions{Limit: 10, Continue: first.Continue})
	if err != nil {
		t.Fatal(err)
	}
	if got := names(second); got != "p4 p5 p6 p7 p8 p9" || second.ResourceVersion != first.ResourceVersion || second.Continue != "" {
		t.Errorf("got %s at %s after %s", got, second.ResourceVersion, first.ResourceVersion)
	}
}

func TestATokenExpiresAndGivesAnotherToGoOnWith(t *testing.T) {
	s := start(t, func(o *read.Options) { o.PageTTL = time.Second })
	for i := range 10 {
		s.pod("a", fmt.Sprintf("p%d", i), "", nil)
	}
	c := s.client("application/json").CoreV1().Pods("")
	first, err := c.List(t.Context(), metav1.ListOptions{Limit: 4})
	if err != nil {
		t.Fatal(err)
	}
	s.pod("a", "p44", "", nil)
	s.remove(podKey("a", "p5"))
	for started := time.Now(); err == nil; time.Sleep(50 * time.Millisecond) { // using a token does not keep it
		_, err = c.List(t.Context(), metav1.ListOptions{Limit: 1, Continue: first.Continue})
		if time.Since(started) > time.Minute {
			t.Fatal("the token does not expire")
		}
	}
	if !apierrors.IsResourceExpired(err) {
		t.Fatalf("got %v, want 410", err)
	}
	token := err.(apierrors.APIStatus).Status().ListMeta.Continue
	rest, err := c.List(t.Context(), metav1.ListOptions{Limit: 10, Continue: token})
	if err != nil {
		t.Fatal(err)
	}
	if got := names(rest); got != "p4 p44 p6 p7 p8 p9" {
		t.Errorf("the inconsistent rest: got %s", got)
	}
}

// names are those of the pods, in their order.
func names(list *corev1.PodList) string {
	var out []string
	for _, p := range list.Items {
		out = append(out, p.Name)
	}
	return strings.Join(out, " ")
}

func TestAnyGatewayGoesOnWithAListAndKnowsThePast(t *testing.T) {
	one := start(t, nil)
	two := startOver(t, one.conn, nil)
	for i := range 6 {
		one.pod("a", fmt.Sprintf("p%d", i), "", nil)
	}
	first, err := one.client("application/json").CoreV1().Pods("").List(t.Context(), metav1.ListOptions{Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	one.remove(podKey("a", "p3"))
	one.pod("a", "p33", "", nil)
	changed := one.pod("a", "p5", "", map[string]string{"new": "yes"})

	other := two.client("application/json").CoreV1().Pods("")
	second, err := other.List(t.Context(), metav1.ListOptions{Limit: 3, Continue: first.Continue})
	if err != nil {
		t.Fatal(err)
	}
	if got := names(second); got != "p2 p3 p4" || second.ResourceVersion != first.ResourceVersion {
		t.Errorf("the second page: got %s at %s, want p2 p3 p4 at %s", got, second.ResourceVersion, first.ResourceVersion)
	}
	third, err := one.client("application/json").CoreV1().Pods("").List(t.Context(), metav1.ListOptions{Continue: second.Continue})
	if err != nil {
		t.Fatal(err)
	}
	if got := names(third); got != "p5" || third.Items[0].Labels["new"] != "" {
		t.Errorf("the third page: got %s with %v, want the old p5", got, third.Items[0].Labels)
	}
	was, err := other.List(t.Context(), metav1.ListOptions{ResourceVersion: first.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	if err != nil {
		t.Fatal(err)
	}
	if got := names(was); got != "p0 p1 p2 p3 p4 p5" {
		t.Errorf("exactly at %s: got %s", first.ResourceVersion, got)
	}
	now, err := other.List(t.Context(), metav1.ListOptions{ResourceVersion: fmt.Sprint(changed), ResourceVersionMatch: metav1.ResourceVersionMatchExact, LabelSelector: "new"})
	if err != nil {
		t.Fatal(err)
	}
	if got := names(now); got != "p5" {
		t.Errorf("exactly at %d: got %s", changed, got)
	}
	// Who starts later knows nothing of what was before.
	late := startOver(t, one.conn, nil).client("application/json").CoreV1().Pods("")
	for message, options := range map[string]metav1.ListOptions{
		"The resourceVersion for the provided list is too old.": {ResourceVersion: first.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchExact},
		"The provided continue parameter is too old":            {Continue: first.Continue},
	} {
		if _, err := late.List(t.Context(), options); !apierrors.IsResourceExpired(err) || !strings.Contains(err.Error(), message) {
			t.Errorf("from before the start: got %v, want 410 %s", err, message)
		}
	}
}

func TestAWatchGoesOnInAGatewayThatStartedLater(t *testing.T) {
	one := start(t, nil)
	one.pod("a", "p0", "n1", nil)
	one.pod("a", "p1", "n1", nil)
	seen := one.pod("a", "p0", "n1", map[string]string{"app": "web"})
	one.pod("a", "p2", "n1", nil)
	one.pod("b", "p3", "n1", nil)
	one.pod("a", "p1", "n1", map[string]string{"app": "web"})
	one.remove(podKey("a", "p0"))
	late := startOver(t, one.conn, nil)
	for name, c := range map[string]struct {
		ns, field, label string
		after            uint64
		want             string
	}{
		"everything":                        {"", "", "", seen, "ADDED p2, ADDED p3, MODIFIED p1, DELETED p0"},
		"a namespace":                       {"b", "", "", seen, "ADDED p3"},
		"one object":                        {"a", "metadata.name=p1", "", seen, "MODIFIED p1"},
		"one object that is gone":           {"a", "metadata.name=p0", "", seen, "DELETED p0"},
		"a label, which an object may lose": {"a", "", "app=web", seen, "expired"},
		"a field, which an object may get":  {"", "spec.nodeName=n1", "", seen, "expired"},
		"a version is missing":              {"", "", "", seen - 1, "expired"},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := late.client("application/json").CoreV1().Pods(c.ns).Watch(t.Context(), metav1.ListOptions{ResourceVersion: fmt.Sprint(c.after), FieldSelector: c.field, LabelSelector: c.label})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			if c.want != "expired" {
				expect(t, w, strings.Split(c.want, ", ")...)
				return
			}
			event := <-w.ResultChan()
			if status, _ := event.Object.(*metav1.Status); status == nil || status.Reason != metav1.StatusReasonExpired {
				t.Errorf("got %+v, want that it is expired", event)
			}
		})
	}
}

func TestAListByAnIndexIsOfOnePointInTimeWhileOthersWrite(t *testing.T) {
	s := start(t, nil)
	s.pod("a", "mine", "n1", nil)
	s.pod("b", "elsewhere", "n1", nil)
	ctx, stop := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			s.pod("a", "other", fmt.Sprint("n", 2+i%2), nil)
		}
	})
	defer writer.Wait()
	defer stop()
	pods := s.client("application/json").CoreV1().Pods("a")
	for range 200 {
		for node, want := range map[string]string{"n1": "mine", "n2,spec.nodeName!=n3": "", "n9": ""} {
			list, err := pods.List(t.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range list.Items {
				if !strings.HasPrefix(node, p.Spec.NodeName) {
					t.Fatalf("on %s: got %s of %s", node, p.Name, p.Spec.NodeName)
				}
			}
			if want != "" && names(list) != want {
				t.Fatalf("on %s: got %s, want %s", node, names(list), want)
			}
		}
	}
}

func TestTablesMetadataYAMLAndOtherVersions(t *testing.T) {
	s := start(t, nil)
	rev := s.pod("a", "x", "n1", map[string]string{"app": "web"})
	_, _, body := s.get("/api/v1/namespaces/a/pods", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json")
	var table metav1.Table
	if err := json.Unmarshal(body, &table); err != nil {
		t.Fatal(err)
	}
	if len(table.Rows) != 1 || table.Rows[0].Cells[0] != "x" || table.ColumnDefinitions[0].Name != "Name" || !strings.Contains(string(table.Rows[0].Object.Raw), `"PartialObjectMetadata"`) {
		t.Errorf("got %s", body)
	}
	_, _, body = s.get("/api/v1/namespaces/a/pods/x", "application/json;as=Table;v=v1;g=meta.k8s.io")
	if err := json.Unmarshal(body, &table); err != nil || len(table.Rows) != 1 || table.ResourceVersion != fmt.Sprint(rev) {
		t.Errorf("got %s, %v", body, err)
	}
	_, header, body := s.get("/api/v1/namespaces/a/pods/x", "application/yaml")
	if header.Get("Content-Type") != "application/yaml" || !strings.HasPrefix(string(body), "apiVersion: v1\nkind: Pod\n") {
		t.Errorf("got %v %s", header, body)
	}
	_, _, body = s.get("/api/v1/namespaces/a/pods/x?pretty=true", "application/json")
	if !strings.HasPrefix(string(body), "{\n  \"kind\": \"Pod\",\n") {
		t.Errorf("got %s", body)
	}
	for name, mediaType := range mediaTypes {
		c, err := metadata.NewForConfig(&rest.Config{Host: s.url, ContentConfig: rest.ContentConfig{ContentType: mediaType}})
		if err != nil {
			t.Fatal(err)
		}
		list, err := c.Resource(corev1.SchemeGroupVersion.WithResource("pods")).Namespace("a").List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 || list.Items[0].Labels["app"] != "web" {
			t.Errorf("%s: got %+v, %v", name, list, err)
		}
		one, err := c.Resource(corev1.SchemeGroupVersion.WithResource("pods")).Namespace("a").Get(t.Context(), "x", metav1.GetOptions{})
		if err != nil || one.Name != "x" {
			t.Errorf("%s: got %+v, %v", name, one, err)
		}
	}
	event := &corev1.Event{TypeMeta: metav1.TypeMeta{Kind: "Event", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "e"}, Reason: "Because", Message: "hello", InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "x"}}
	s.put(event, proto.Key{GroupResource: proto.Events, Namespace: "a", Name: "e"})
	for name, mediaType := range mediaTypes {
		got, err := s.client(mediaType).EventsV1().Events("a").List(t.Context(), metav1.ListOptions{FieldSelector: "regarding.name=x"})
		if err != nil || len(got.Items) != 1 || got.Items[0].Note != "hello" || got.Items[0].Kind != "" {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
		var one *eventsv1.Event
		if one, err = s.client(mediaType).EventsV1().Events("a").Get(t.Context(), "e", metav1.GetOptions{}); err != nil || one.Reason != "Because" {
			t.Errorf("%s: got %+v, %v", name, one, err)
		}
	}
}

// TestMetadataAloneIsTheHubs: what a version keeps in annotations is a field there.
func TestMetadataAloneIsTheHubs(t *testing.T) {
	s := start(t, nil)
	s.put(&appsv1.DaemonSet{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "DaemonSet"}, ObjectMeta: metav1.ObjectMeta{
		Name: "d", Namespace: "a", UID: "u", Annotations: map[string]string{appsv1.DeprecatedTemplateGeneration: "3", "mine": "x"},
	}}, proto.Key{GroupResource: proto.GroupResource{Group: "apps", Resource: "daemonsets"}, Namespace: "a", Name: "d"})
	const path = "/apis/apps/v1/namespaces/a/daemonsets/d"
	for accept, shown := range map[string]bool{
		"application/json": true,
		"application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io":                    false,
		"application/json;as=Table;v=v1;g=meta.k8s.io":                                    false,
		"application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io": false,
	} {
		req, err := http.NewRequest(http.MethodGet, s.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", accept)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || bytes.Contains(body, []byte(appsv1.DeprecatedTemplateGeneration)) != shown || !bytes.Contains(body, []byte("mine")) {
			t.Errorf("%s: got %d %q, %v", accept, resp.StatusCode, body, err)
		}
	}
}

func TestWatchGivesEveryChangeInOrderInEveryFormat(t *testing.T) {
	for name, mediaType := range mediaTypes {
		t.Run(name, func(t *testing.T) {
			s := start(t, nil)
			before := s.pod("a", "x", "", nil)
			w, err := s.client(mediaType).CoreV1().Pods("").Watch(t.Context(), metav1.ListOptions{ResourceVersion: fmt.Sprint(before)})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			s.pod("a", "x", "n1", nil)
			s.pod("a", "y", "", nil)
			s.remove(podKey("a", "x"))
			expect(t, w, "MODIFIED x", "ADDED y", "DELETED x")
		})
	}
}

func TestASelectorTurnsTransitionsIntoAddedAndDeleted(t *testing.T) {
	s := start(t, nil)
	before := s.pod("a", "x", "", nil)
	c := s.client("application/json").CoreV1().Pods("")
	byNode, err := c.Watch(t.Context(), metav1.ListOptions{ResourceVersion: fmt.Sprint(before), FieldSelector: "spec.nodeName=n1"})
	if err != nil {
		t.Fatal(err)
	}
	defer byNode.Stop()
	byLabel, err := c.Watch(t.Context(), metav1.ListOptions{ResourceVersion: fmt.Sprint(before), LabelSelector: "app"})
	if err != nil {
		t.Fatal(err)
	}
	defer byLabel.Stop()
	s.pod("a", "x", "n1", nil)
	s.pod("a", "x", "n1", map[string]string{"app": "1"})
	left := s.pod("a", "x", "n1", nil)
	s.pod("a", "z", "n2", nil)
	s.remove(podKey("a", "x"))
	expect(t, byNode, "ADDED x", "MODIFIED x", "MODIFIED x", "DELETED x")
	events := expect(t, byLabel, "ADDED x", "DELETED x")
	if last := events[1].Object.(*corev1.Pod); last.Labels["app"] != "1" || last.ResourceVersion != fmt.Sprint(left) {
		t.Errorf("the DELETED event shows %+v, want the last matching state at %d", last.ObjectMeta, left)
	}
}

func TestWatchListEndsTheInitialEventsWithABookmark(t *testing.T) {
	for name, mediaType := range mediaTypes {
		t.Run(name, func(t *testing.T) {
			s := start(t, func(o *read.Options) { o.Bookmarks = 200 * time.Millisecond })
			s.pod("a", "x", "", nil)
			last := s.pod("a", "y", "", nil)
			yes := true
			w, err := s.client(mediaType).CoreV1().Pods("").Watch(t.Context(), metav1.ListOptions{SendInitialEvents: &yes, ResourceVersionMatch: "NotOlderThan", AllowWatchBookmarks: true})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			events := expect(t, w, "ADDED x", "ADDED y", "BOOKMARK ")
			mark := events[2].Object.(*corev1.Pod)
			if mark.Annotations[metav1.InitialEventsAnnotationKey] != "true" || mark.ResourceVersion != fmt.Sprint(last) {
				t.Errorf("got %+v", mark.ObjectMeta)
			}
			later := expect(t, w, "BOOKMARK ")[0].Object.(*corev1.Pod)
			if len(later.Annotations) != 0 || later.ResourceVersion < mark.ResourceVersion {
				t.Errorf("got %+v", later.ObjectMeta)
			}
		})
	}
}

// A watch that asks for bookmarks gets one shortly before its time is over, as often as
// they come otherwise.
func TestAWatchGetsALastBookmark(t *testing.T) {
	s := start(t, nil)
	last := s.pod("a", "x", "", nil)
	seconds := int64(3)
	w, err := s.client("application/json").CoreV1().Pods("").Watch(t.Context(), metav1.ListOptions{ResourceVersion: fmt.Sprint(last), AllowWatchBookmarks: true, TimeoutSeconds: &seconds})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if mark := expect(t, w, "BOOKMARK ")[0].Object.(*corev1.Pod); mark.ResourceVersion != fmt.Sprint(last) {
		t.Errorf("got %+v", mark.ObjectMeta)
	}
	if ev, ok := <-w.ResultChan(); ok {
		t.Errorf("then came %v", ev)
	}
}

func TestAWatchAsListsEndsWithItsFirstEvent(t *testing.T) {
	s := start(t, nil)
	before := s.pod("a", "x", "", nil)
	s.pod("a", "y", "", nil)
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.url+fmt.Sprintf("/api/v1/pods?watch=1&resourceVersion=%d", before), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK || len(body) > 0 || err != nil {
		t.Errorf("got %d %q, %v", resp.StatusCode, body, err)
	}
}

func TestSealedKindsAreShownOpened(t *testing.T) {
	s := start(t, func(o *read.Options) {
		o.Open = func(_ proto.Key, sealed []byte) ([]byte, error) {
			if !bytes.Contains(sealed, []byte(`"sealed":"x"`)) {
				return nil, errors.New("the document is not sealed")
			}
			return bytes.Replace(sealed, []byte(`"sealed":"x"`), []byte(`"data":{"p":"aHVudGVyMg=="}`), 1), nil
		}
	})
	key := proto.Key{GroupResource: proto.GroupResource{Resource: "secrets"}, Namespace: "a", Name: "s"}
	if _, err := s.log.Commit(t.Context(), statelog.Write{Key: key, Data: []byte(`{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s","namespace":"a"},"type":"Opaque","sealed":"x"}`)}); err != nil {
		t.Fatal(err)
	}
	for name, mediaType := range mediaTypes {
		list, err := s.client(mediaType).CoreV1().Secrets("a").List(t.Context(), metav1.ListOptions{FieldSelector: "type=Opaque"})
		if err != nil || len(list.Items) != 1 || string(list.Items[0].Data["p"]) != "hunter2" {
			t.Errorf("%s: got %+v, %v", name, list, err)
		}
		yes := true
		w, err := s.client(mediaType).CoreV1().Secrets("a").Watch(t.Context(), metav1.ListOptions{SendInitialEvents: &yes, ResourceVersionMatch: "NotOlderThan", FieldSelector: "metadata.name=s"})
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := expect(t, w, "ADDED s")[0].Object.(*corev1.Secret); !ok || string(got.Data["p"]) != "hunter2" {
			t.Errorf("%s: a watch began with %+v", name, got)
		}
		w.Stop()
	}
}

func TestALargeListIsCompressedForClientsElsewhere(t *testing.T) {
	s := start(t, nil)
	for i := range 50 {
		s.pod("a", fmt.Sprintf("p%d", i), "", map[string]string{"x": strings.Repeat("y", 4000)})
	}
	reader := read.New(read.Options{View: s.log.View, Barrier: s.log.Barrier})
	gvr := corev1.SchemeGroupVersion.WithResource("pods")
	req := httptest.NewRequest(http.MethodGet, "/api/v1/pods", nil)
	req.RemoteAddr = "192.0.2.1:1234"
	req.Header.Set("Accept-Encoding", "gzip")
	req = req.WithContext(request.WithRequestInfo(req.Context(), &request.RequestInfo{Verb: "list", APIVersion: "v1", Resource: "pods"}))
	rec := httptest.NewRecorder()
	reader.Handler(kinds.Find(gvr), gvr.GroupVersion()).ServeHTTP(rec, req)
	if rec.Header().Get("Content-Encoding") != "gzip" {
		t.Fatalf("got %v", rec.Header())
	}
	gz, err := gzip.NewReader(rec.Body)
	if err != nil {
		t.Fatal(err)
	}
	var list corev1.PodList
	if err := json.NewDecoder(bufio.NewReader(gz)).Decode(&list); err != nil || len(list.Items) != 50 {
		t.Errorf("got %d items, %v", len(list.Items), err)
	}
}

// expect reads as many events and compares type and name.
func expect(t *testing.T, w watch.Interface, want ...string) []watch.Event {
	t.Helper()
	var events []watch.Event
	var got []string
	deadline := time.After(time.Minute)
	for range want {
		select {
		case ev, ok := <-w.ResultChan():
			if !ok {
				t.Fatalf("the watch ended after %v, want %v", got, want)
			}
			m, isObject := ev.Object.(metav1.Object)
			if !isObject {
				t.Fatalf("got %v", ev.Object)
			}
			events = append(events, ev)
			got = append(got, string(ev.Type)+" "+m.GetName())
		case <-deadline:
			t.Fatalf("got %v, want %v", got, want)
		}
	}
	if strings.Join(got, ",") != strings.Join(want, ",") {
		t.Fatalf("got %v, want %v", got, want)
	}
	return events
}

func TestAWatchOverAWebSocketHasAMessageAnEvent(t *testing.T) {
	s := start(t, nil)
	begin := s.pod("a", "p", "n1", nil)
	for name, c := range map[string]struct {
		accept string
		read   func([]byte) (kind, name string)
	}{
		"JSON as text": {"application/json", func(message []byte) (string, string) {
			var event struct {
				Type   string
				Object corev1.Pod
			}
			if err := json.Unmarshal(message, &event); err != nil {
				t.Fatalf("%v in %q", err, message)
			}
			return event.Type, event.Object.Name
		}},
		"protobuf as bytes": {"application/vnd.kubernetes.protobuf", func(message []byte) (string, string) {
			var event metav1.WatchEvent
			if err := event.Unmarshal(message); err != nil {
				t.Fatalf("%v in %q", err, message)
			}
			pod, _, err := resource.Codecs.UniversalDeserializer().Decode(event.Object.Raw, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			return event.Type, pod.(*corev1.Pod).Name
		}},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := websocket.NewConfig(strings.Replace(s.url, "http:", "ws:", 1)+fmt.Sprintf("/api/v1/pods?watch=true&resourceVersion=%d", begin), s.url)
			if err != nil {
				t.Fatal(err)
			}
			config.Header.Set("Accept", c.accept)
			conn, err := websocket.DialConfig(config)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			other := "other-" + strings.ToLower(c.accept[12:16])
			s.pod("a", "p", "n2", nil)
			s.pod("a", other, "n2", nil)
			for _, want := range []string{"MODIFIED p", "ADDED " + other} {
				var message []byte
				for got := ""; got != want; { // a former case's events come first
					if err := websocket.Message.Receive(conn, &message); err != nil {
						t.Fatalf("waiting for %s: %v", want, err)
					}
					kind, name := c.read(message)
					got = kind + " " + name
				}
			}
		})
	}
}
