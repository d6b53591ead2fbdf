package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"kubus.dev/proto"
	"kubus.dev/proto/message"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/metrics/internal/object"
	"kubus.dev/services/metrics/internal/sample"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// served is node n1 with pods a and d, which it tells of; b, of which nothing is known; c,
// of which n2 tells though it is n1's; and e, which has ended. Node n2 has no rate yet.
func served(t *testing.T) (h *Handler, reads *int) {
	t.Helper()
	objects, samples := object.New(zaptest.NewLogger(t)), sample.New()
	put := func(of proto.GroupResource, namespace, name, text string) {
		k := proto.Key{GroupResource: of, Namespace: namespace, Name: name}
		objects.Take(k, statelog.NewEntry(k, 1, []byte(text), false))
	}
	put(object.Nodes, "", "n1", `{"metadata":{"name":"n1","labels":{"zone":"z"}}}`)
	put(object.Nodes, "", "n2", `{"metadata":{"name":"n2"}}`)
	for _, p := range []struct{ namespace, name, phase string }{{"ns", "a", "Running"}, {"ns", "b", "Running"}, {"ns", "c", "Running"}, {"other", "d", "Running"}, {"other", "e", "Succeeded"}} {
		put(object.Pods, p.namespace, p.name, fmt.Sprintf(`{"metadata":{"name":%q,"uid":"u-%s","labels":{"app":%q}},"spec":{"nodeName":"n1"},"status":{"phase":%q}}`, p.name, p.name, p.name, p.phase))
	}
	for i := range 2 {
		at := began.Add(time.Duration(2*i) * time.Second)
		used := func(milli, mib int) *message.Usage {
			return &message.Usage{CpuNs: uint64(i * 2 * milli * 1_000_000), MemoryBytes: uint64(mib) << 20}
		}
		pod := func(uid string, containers ...*message.ContainerUsage) *message.PodUsage {
			return &message.PodUsage{Uid: uid, Containers: containers}
		}
		samples.Begin()
		samples.Take("n1", &message.NodeUsage{TimeUnixNs: at.UnixNano(), Node: used(1500, 900), Pods: []*message.PodUsage{
			pod("u-a", &message.ContainerUsage{Name: "app", Usage: used(250, 10)}, &message.ContainerUsage{Name: "sidecar", Usage: used(50, 1)}),
			pod("u-d", &message.ContainerUsage{Name: "app", Usage: used(0, 1)}), pod("u-e", &message.ContainerUsage{Name: "app", Usage: used(0, 1)}),
		}})
		if i == 0 {
			samples.Take("n2", &message.NodeUsage{TimeUnixNs: at.UnixNano(), Node: used(1, 1), Pods: []*message.PodUsage{pod("u-c", &message.ContainerUsage{Name: "app", Usage: used(9000, 1)})}})
		}
	}
	reads = new(int)
	return New(objects, samples, func() { *reads++ }), reads
}

func ask(h http.Handler, method, path, accept string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, root+path, nil)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestMetricsOfOnePodAndNode(t *testing.T) {
	t.Parallel()
	h, _ := served(t)
	for path, want := range map[string]string{
		"/namespaces/ns/pods/a": `{"kind":"PodMetrics","apiVersion":"metrics.k8s.io/v1beta1","metadata":{"name":"a","namespace":"ns","creationTimestamp":NOW,"labels":{"app":"a"}},` +
			`"timestamp":"2026-01-02T03:04:07Z","window":"2s","containers":[{"name":"app","usage":{"cpu":"250m","memory":"10Mi"}},{"name":"sidecar","usage":{"cpu":"50m","memory":"1Mi"}}]}`,
		"/nodes/n1": `{"kind":"NodeMetrics","apiVersion":"metrics.k8s.io/v1beta1","metadata":{"name":"n1","creationTimestamp":NOW,"labels":{"zone":"z"}},` +
			`"timestamp":"2026-01-02T03:04:07Z","window":"2s","usage":{"cpu":"1500m","memory":"900Mi"}}`,
	} {
		w := ask(h, "GET", path, "")
		var made metav1.PartialObjectMetadata
		if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil {
			t.Fatal(err)
		}
		stamp, _ := json.Marshal(made.CreationTimestamp)
		got := strings.TrimSpace(strings.Replace(w.Body.String(), string(stamp), "NOW", 1))
		if w.Code != 200 || got != want || time.Since(made.CreationTimestamp.Time) > time.Minute {
			t.Errorf("%s: got %d\n%s, want\n%s", path, w.Code, got, want)
		}
	}
}

func TestListsAndSelectors(t *testing.T) {
	t.Parallel()
	h, _ := served(t)
	for path, want := range map[string][]string{
		"/pods":                                        []string{"ns/a", "other/d"},
		"/namespaces/ns/pods":                          []string{"ns/a"},
		"/namespaces/none/pods":                        nil,
		"/pods?labelSelector=app%3Dd":                  []string{"other/d"},
		"/pods?labelSelector=app%20notin%20(d)":        []string{"ns/a"},
		"/pods?fieldSelector=metadata.name%3Da":        []string{"ns/a"},
		"/pods?fieldSelector=metadata.namespace!%3Dns": []string{"other/d"},
		"/nodes":                        []string{"/n1"},
		"/nodes?labelSelector=zone%3Dy": nil,
	} {
		w := ask(h, "GET", path, "application/json")
		var list struct {
			Kind, APIVersion string
			Items            []metav1.PartialObjectMetadata
		}
		if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, item := range list.Items {
			got = append(got, item.Namespace+"/"+item.Name)
		}
		if w.Code != 200 || !slices.Equal(got, want) || list.APIVersion != "metrics.k8s.io/v1beta1" || list.Items == nil {
			t.Errorf("%s: got %d %q %s, want %q", path, w.Code, got, w.Body, want)
		}
	}
}

func TestWhatIsNotServed(t *testing.T) {
	t.Parallel()
	h, reads := served(t)
	for _, tc := range []struct {
		method, path, accept string
		code                 int
		says                 string
	}{
		{"GET", "/namespaces/ns/pods/none", "", 404, `pods \"none\" not found`},
		{"GET", "/namespaces/ns/pods/b", "", 404, `pods.metrics.k8s.io \"ns/b\" not found`},
		{"GET", "/namespaces/ns/pods/c", "", 404, `pods.metrics.k8s.io \"ns/c\" not found`},
		{"GET", "/namespaces/other/pods/e", "", 404, `pods.metrics.k8s.io \"other/e\" not found`},
		{"GET", "/nodes/n2", "", 404, `nodes.metrics.k8s.io \"n2\" not found`},
		{"GET", "/nodes/none", "", 404, `nodes \"none\" not found`},
		{"GET", "/services", "", 404, "could not find the requested resource"},
		{"GET", "/pods?watch=true", "", 405, "watch is not supported"},
		{"DELETE", "/namespaces/ns/pods/a", "", 405, "delete is not supported"},
		{"GET", "/pods?labelSelector=%21%21", "", 400, "unable to parse labelSelector"},
		{"GET", "/pods?fieldSelector=spec.nodeName%3Dn1", "", 400, "is not a known field selector"},
		{"GET", "/pods", "image/png", 406, "only the following media types are accepted"},
		{"GET", "/pods?includeObject=All", "application/json;as=Table;v=v1;g=meta.k8s.io", 400, "unrecognized includeObject value"},
	} {
		w := ask(h, tc.method, tc.path, tc.accept)
		if w.Code != tc.code || !strings.Contains(w.Body.String(), tc.says) || !strings.Contains(w.Body.String(), `"kind":"Status"`) {
			t.Errorf("%s %s: got %d %s, want %d %s", tc.method, tc.path, w.Code, w.Body, tc.code, tc.says)
		}
	}
	before := *reads
	if w := ask(h, "GET", "", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"kind":"APIResourceList"`) || *reads != before {
		t.Errorf("discovery: %d %s", w.Code, w.Body)
	}
	if ask(h, "GET", "/nodes", ""); *reads != before+1 {
		t.Error("a read of metrics was not told")
	}
}

func TestForms(t *testing.T) {
	t.Parallel()
	h, _ := served(t)
	const table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
	for include, object := range map[string]string{"": "PartialObjectMetadata", "Object": "PodMetrics", "None": ""} {
		w := ask(h, "GET", "/namespaces/ns/pods?includeObject="+include, table)
		var got metav1.Table
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Rows) != 1 || fmt.Sprint(got.Rows[0].Cells) != "[a 300m 11Mi 2s]" || len(got.ColumnDefinitions) != 4 || got.ColumnDefinitions[1].Name != "cpu" {
			t.Errorf("table %+v", got)
		}
		var kind metav1.TypeMeta
		_ = json.Unmarshal(got.Rows[0].Object.Raw, &kind)
		if object != "PodMetrics" && kind.Kind != object {
			t.Errorf("includeObject %q gives %q, want %q", include, kind.Kind, object)
		}
	}
	w := ask(h, "GET", "/nodes/n1", "application/vnd.kubernetes.protobuf,application/json")
	o, _, err := protobufs.Decode(w.Body.Bytes(), nil, &metrics.NodeMetrics{})
	if err != nil {
		t.Fatal(err)
	}
	if m := o.(*metrics.NodeMetrics); m.Name != "n1" || m.Usage.Cpu().String() != "1500m" || m.Window.Duration != 2*time.Second {
		t.Errorf("protobuf %+v", m)
	}
}
