package gateway

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"kubus.dev/proto"
)

var podsResource = proto.GroupResource{Resource: "pods"}

// malformed makes a request that is wrong in one way or another; each has words that no
// other one has.
func malformed(random *rand.Rand) *http.Request {
	word := fmt.Sprintf("w%016x", random.Uint64())
	inJSON := map[string]string{"Content-Type": "application/json"}
	type ask struct {
		method, path, body string
		header             map[string]string
	}
	asks := []ask{
		{"GET", "/apis/" + word + ".example.com/v1/things", "", nil},
		{"GET", "/apis/apps/" + word + "/deployments", "", nil},
		{"GET", "/api/v1/" + word, "", nil},
		{"GET", "/api/v1/namespaces/" + word + "/pods/" + word + "/" + word, "", nil},
		{"GET", "/" + word, "", nil},
		{word, "/api/v1/pods", "", nil},
		{"GET", "/api/v1/pods?labelSelector=" + word + "%3D%3D%3D", "", nil},
		{"GET", "/api/v1/pods?fieldSelector=spec." + word + "%3Da", "", nil},
		{"GET", "/api/v1/pods?continue=" + word, "", nil},
		{"GET", "/api/v1/pods?resourceVersion=" + word, "", nil},
		{"GET", "/api/v1/pods?limit=" + word, "", nil},
		{"GET", "/api/v1/pods?watch=true&timeoutSeconds=" + word, "", nil},
		{"GET", "/api/v1/pods?watch=true&timeoutSeconds=-1&resourceVersion=1&labelSelector=" + word, "", nil}, // over at once
		{"GET", "/api/v1/pods?timeout=" + word, "", nil},
		{"GET", "/api/v1/pods", "", map[string]string{"Accept": "application/" + word}},
		{"GET", "/api/v1/pods", "", map[string]string{"Accept": "application/json;as=" + word + ";v=v1;g=meta.k8s.io"}},
		{"GET", "/openapi/v3/apis/" + word, "", nil},
		{"POST", configMaps, `{"metadata":{"name":"` + word, inJSON},
		{"POST", configMaps, `{"metadata":{"name":"` + word + `"},"` + word + `":1}`, map[string]string{"Content-Type": "application/" + word}},
		{"POST", configMaps, "a: b: " + word, map[string]string{"Content-Type": "application/yaml"}},
		{"POST", configMaps, "k8s\x00" + word, map[string]string{"Content-Type": "application/vnd.kubernetes.protobuf"}},
		{"POST", configMaps + "?fieldValidation=Strict", `{"metadata":{"name":"` + word + `"},"` + word + `":1}`, inJSON},
		{"POST", configMaps, `{"metadata":{"name":"` + word + `_"}}`, inJSON},
		{"POST", configMaps, `{"kind":"` + word + `","apiVersion":"v1"}`, inJSON},
		{"POST", configMaps, strings.Repeat("[", 20000) + word, inJSON},
		{"POST", configMaps, `{"metadata":{"name":"x_","managedFields":[{"manager":"` + word + `","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:` + word + `":1}}]}}`, inJSON},
		{"PUT", configMaps + "/" + word, `{"metadata":{"name":"other"}}`, inJSON},
		{"PATCH", configMaps + "/here", `[{"op":"` + word + `","path":"/x"}]`, map[string]string{"Content-Type": jsonPatch}},
		{"PATCH", configMaps + "/here", `{"metadata":"` + word + `"}`, map[string]string{"Content-Type": mergePatch}},
		{"PATCH", configMaps + "/here?fieldManager=" + word, "a: [" + word, map[string]string{"Content-Type": applyPatch}},
		{"PATCH", configMaps + "/" + word, `{}`, map[string]string{"Content-Type": mergePatch}},
		{"DELETE", configMaps + "/" + word + "?propagationPolicy=" + word, "", nil},
		{"DELETE", configMaps + "/here", `{"preconditions":{"uid":"` + word + `"}}`, inJSON},
		{"POST", "/api/v1/namespaces/default/pods/" + word + "/binding", `{"target":{"name":"` + word + `"}}`, inJSON},
		{"GET", "/api/v1/namespaces/default/pods/" + word + "/log?tailLines=-1", "", nil},
		{"POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", `{"spec":{"user":"` + word + `"}}`, inJSON},
		{"GET", "/api/v1/pods", "", map[string]string{"Impersonate-User": word}},
	}
	a := asks[random.IntN(len(asks))]
	r := httptest.NewRequest(http.MethodGet, "/", strings.NewReader(a.body))
	r.Method = a.method
	path, query, _ := strings.Cut(a.path, "?")
	r.URL.Path, r.URL.RawQuery, r.RequestURI = path, query, a.path
	for k, v := range a.header {
		r.Header.Set(k, v)
	}
	return r
}

// TestMalformedRequestsLeaveNothing: ten thousand of them, no two alike, are refused, and
// memory and goroutines are as before.
func TestMalformedRequestsLeaveNothing(t *testing.T) {
	g := start(t)
	must[corev1.ConfigMap](t, g, "POST", configMaps, configMap("here"))
	send := func(from, n int) {
		var wait sync.WaitGroup
		for worker := range 8 {
			random := rand.New(rand.NewPCG(uint64(from), uint64(worker)))
			wait.Go(func() {
				for range n / 8 {
					r, w := malformed(random), httptest.NewRecorder()
					g.ServeAs(AdminUser, w, r.WithContext(t.Context()))
					if w.Code < 400 && !strings.Contains(r.URL.RawQuery, "watch=true") || w.Code >= 500 {
						t.Errorf("%s %s: got %d %.300s", r.Method, r.RequestURI, w.Code, w.Body)
					}
				}
			})
		}
		wait.Wait()
	}
	send(1, 2000) // what is made once is made
	goroutines, heap := runtime.NumGoroutine(), live()
	views := len(g.state.View(podsResource).Resources())
	send(2, 10_000)
	const spare = 4 << 20
	end := time.Now().Add(patience)
	for runtime.NumGoroutine() > goroutines+20 || live() > heap+spare {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines after %d, %d KiB after %d", runtime.NumGoroutine(), goroutines, live()>>10, heap>>10)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if got := len(g.state.View(podsResource).Resources()); got > views {
		t.Errorf("the view has %d collections after %d", got, views)
	}
	must[corev1.ConfigMap](t, g, "GET", configMaps+"/here", nil)
}

// live is the memory in use.
func live() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// FuzzPatch: a patch of any kind changes the object or is refused, as upstream refuses it;
// what is stored can be read.
func FuzzPatch(f *testing.F) {
	types := []string{jsonPatch, mergePatch, "application/strategic-merge-patch+json", applyPatch}
	for _, seed := range []string{
		`{"data":{"a":"2"}}`, `{"data":null}`, `{"metadata":null}`, `{"metadata":{"name":"x"}}`, `{"metadata":{"managedFields":[{}]}}`, `null`, `[]`, `""`, `{`,
		`[{"op":"add","path":"/data/a~1b","value":"x"}]`, `[{"op":"remove","path":""}]`, `[{"op":"move","from":"/data","path":"/data/a"}]`, `[{"op":"test","path":"/metadata/uid","value":1}]`, `[{"op":"copy","from":"/","path":"/x/-"}]`,
		`{"$patch":"replace"}`, `{"data":{"$patch":"delete"}}`, `{"metadata":{"$setElementOrder/finalizers":["a"],"finalizers":["b"]}}`, `{"metadata":{"$deleteFromPrimitiveList/finalizers":[1]}}`, `{"$retainKeys":["data"],"data":{}}`,
		"apiVersion: v1\nkind: ConfigMap\ndata: {a: x}\n", "apiVersion: v1\nkind: ConfigMap\ndata: [1]\n", "a: *b\n", "? [x]\n: y\n",
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"managedFields":[{"manager":"m","operation":"Apply","fieldsType":"FieldsV1","fieldsV1":{"f:data":{"k:{\"a\":":{}}}}]}}`,
	} {
		for i := range types {
			f.Add(uint8(i), seed)
		}
	}
	g := start(f)
	must[corev1.ConfigMap](f, g, "POST", configMaps, configMap("fuzzed"))
	f.Fuzz(func(t *testing.T, kind uint8, patch string) {
		const path = configMaps + "/fuzzed"
		put := &corev1.ConfigMap{TypeMeta: configMap("").TypeMeta, ObjectMeta: configMap("fuzzed").ObjectMeta, Data: map[string]string{"a": "1"}}
		put.Finalizers = []string{"example.com/f"}
		must[corev1.ConfigMap](t, g, "PUT", path, put)
		r := httptest.NewRequest(http.MethodPatch, path+"?fieldManager=fuzz&force=true", strings.NewReader(patch))
		if types[int(kind)%len(types)] != applyPatch {
			r = httptest.NewRequest(http.MethodPatch, path, strings.NewReader(patch))
		}
		r.Header.Set("Content-Type", types[int(kind)%len(types)])
		w := httptest.NewRecorder()
		g.ServeAs(AdminUser, w, r.WithContext(t.Context()))
		if w.Code >= 500 && !plainly(w) {
			t.Errorf("%s %q: got %d %s", r.Header.Get("Content-Type"), patch, w.Code, w.Body)
		}
		must[corev1.ConfigMap](t, g, "GET", path, nil)
	})
}

// plainly says that a patch was refused as upstream refuses what its libraries do not
// take: a field that the schema does not have, a list in the wrong order. That is a 500
// without a reason; an error of the server's own has one.
func plainly(w *httptest.ResponseRecorder) bool {
	var status metav1.Status
	return json.Unmarshal(w.Body.Bytes(), &status) == nil && status.Kind == "Status" && status.Message != "" && status.Reason == ""
}

// FuzzFieldPaths: whatever fields an object claims to be managed by whom, it is stored with
// what can be read of that, or refused.
func FuzzFieldPaths(f *testing.F) {
	for _, seed := range []string{
		`{"f:data":{"f:a":{}}}`, `{"f:metadata":{"f:finalizers":{"v:\"example.com/f\"":{}}}}`, `{"k:{\"name\":\"x\"}":{}}`, `{"k:":{}}`, `{"v:":{}}`, `{"i:-1":{}}`, `{"i:99999999999999999999":{}}`,
		`{".":{}}`, `{"":{}}`, `{"f:":{"f:":{}}}`, `{"k:[1]":{".":{}}}`, `[]`, `null`, `1`, `{"f:data":1}`,
	} {
		f.Add(seed)
	}
	g := start(f)
	must[corev1.ConfigMap](f, g, "POST", configMaps, configMap("owned"))
	f.Fuzz(func(t *testing.T, fields string) {
		const path = configMaps + "/owned"
		body := `{"metadata":{"name":"owned","managedFields":[{"manager":"m","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":` + fields + `}]},"data":{"a":"1"}}`
		r := httptest.NewRequest(http.MethodPut, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		g.ServeAs(AdminUser, w, r.WithContext(t.Context()))
		if w.Code >= 500 {
			t.Errorf("%q: got %d %s", fields, w.Code, w.Body)
		}
		must[corev1.ConfigMap](t, g, "PATCH", path+"?fieldManager=f&force=true", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"owned"},"data":{"a":"2"}}`, applyPatch)
	})
}

// FuzzBody: a body of any format, valid or not, for kinds of every sort, is taken or refused
// as the client's mistake, and an answer in any format can be made of what was taken.
func FuzzBody(f *testing.F) {
	const cborType = "application/cbor"
	formats := []string{"application/json", "application/yaml", protobuf, cborType}
	collections := []string{configMaps, "/api/v1/namespaces/default/pods", "/apis/apps/v1/namespaces/default/deployments", "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers",
		"/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "/apis/fuzzed.example.com/v1/namespaces/default/widgets", "/apis/rbac.authorization.k8s.io/v1/clusterroles",
		"/apis/authorization.k8s.io/v1/subjectaccessreviews", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", "/api/v1/namespaces/default/configmaps/none"}
	g := start(f)
	const definition = `{"metadata":{"name":"widgets.fuzzed.example.com"},"spec":{"group":"fuzzed.example.com","scope":"Namespaced","names":{"plural":"widgets","kind":"Widget"},"versions":[` +
		`{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","properties":{"size":{"type":"integer","default":1},"any":{"x-kubernetes-preserve-unknown-fields":true},"when":{"type":"string","format":"date-time"}},"x-kubernetes-validations":[{"rule":"self.size < 9"}]}}}}}]}}`
	must[unstructured.Unstructured](f, g, "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
	must[unstructured.Unstructured](f, g, "POST", "/apis/fuzzed.example.com/v1/namespaces/default/widgets", `{"apiVersion":"fuzzed.example.com/v1","kind":"Widget","metadata":{"name":"x"}}`)
	seeds := []string{
		`{"metadata":{"name":"a"}}`, `{"metadata":{"name":"a","labels":{"b":"c"},"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"p","uid":"u"}]},"data":{"a":"1"}}`,
		`{"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":"1e99"}}}]}}`, `{"metadata":{"name":"a","creationTimestamp":"x"}}`, `{"metadata":null}`, `[]`, `null`, ``, `{`, `{"a":1e999}`,
		`{"apiVersion":"fuzzed.example.com/v1","kind":"Widget","metadata":{"name":"a"},"spec":{"size":8,"any":{"x":[1.5,null]},"when":"2026-01-01T00:00:00Z"}}`, `{"metadata":{"name":"a"},"spec":{"size":9223372036854775808}}`,
		`{"metadata":{"name":"widgets.a.example.com"},"spec":{"group":"a.example.com","scope":"Cluster","names":{"plural":"widgets","kind":"W"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-validations":[{"rule":"self.x"}]}}}]}}`,
		"metadata: {name: a}\ndata: &x {a: b}\n", "metadata: *x\n", "? [a]\n: b\n", "a: !!binary x\n", "\xef\xbb\xbf{}", "k8s\x00", "k8s\x00\n\x0f\n\x02v1\x12\tConfigMap\x12\x07\n\x05\n\x01a\x12\x00", "k8s\x00\n\xff\xff\xff\xff\x0f",
		"\xd9\xd9\xf7\xa1", "\xa1\x48metadata\xa1\x44name\x41a", "\xbf\xff", "\x9f\x9f\x9f", "\xfb\x7f\xf0\x00\x00\x00\x00\x00\x00",
	}
	for format := range formats {
		for i, seed := range seeds {
			f.Add(uint8(format), uint8(i), uint8(format+i), seed)
		}
	}
	f.Fuzz(func(t *testing.T, format, collection, accept uint8, body string) {
		path := collections[int(collection)%len(collections)]
		method := http.MethodPost
		if strings.HasSuffix(path, "/none") {
			method = http.MethodDelete
		}
		r := httptest.NewRequest(method, path+"?dryRun=All", strings.NewReader(body))
		r.Header.Set("Content-Type", formats[int(format)%len(formats)])
		r.Header.Set("Accept", formats[int(accept)%len(formats)]+", application/json")
		w := httptest.NewRecorder()
		g.ServeAs(AdminUser, w, r.WithContext(t.Context()))
		if w.Code >= 500 && !plainly(w) {
			t.Errorf("%s %s as %s %q: got %d %s", method, path, r.Header.Get("Content-Type"), body, w.Code, w.Body)
		}
	})
}
