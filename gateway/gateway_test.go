package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/message"
)

const configMaps = "/api/v1/namespaces/default/configmaps"

// do sends a request as the administrator; body is an object, a string or nil.
func (g *running) do(t testing.TB, method, path string, body any, contentType ...string) ([]byte, error) {
	t.Helper()
	r := apiclient.Request{Method: method}
	r.Path, _, _ = strings.Cut(path, "?")
	if _, query, ok := strings.Cut(path, "?"); ok {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		r.Query = values
	}
	switch b := body.(type) {
	case nil:
	case string:
		r.Body = []byte(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		r.Body = data
	}
	if len(contentType) > 0 {
		r.ContentType = contentType[0]
	}
	return g.admin.Do(t.Context(), r)
}

// must is do for what has to work, decoded.
func must[T any](t testing.TB, g *running, method, path string, body any, contentType ...string) *T {
	t.Helper()
	data, err := g.do(t, method, path, body, contentType...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	out := new(T)
	if err := json.Unmarshal(data, out); err != nil {
		t.Fatalf("%s %s: %v in %s", method, path, err, data)
	}
	return out
}

// fails wants an error of a reason whose text holds a part.
func (g *running) fails(t testing.TB, reason metav1.StatusReason, part, method, path string, body any, contentType ...string) {
	t.Helper()
	data, err := g.do(t, method, path, body, contentType...)
	if apierrors.ReasonForError(err) != reason || !strings.Contains(fmt.Sprint(err), part) {
		t.Errorf("%s %s: got %q %v %s, want %s with %q", method, path, apierrors.ReasonForError(err), err, data, reason, part)
	}
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"a": "1"}}
}

func TestFlowSchemasAreToldWhetherTheirLevelExists(t *testing.T) {
	g := start(t)
	const path = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
	must[flowcontrolv1.FlowSchema](t, g, "POST", path, `{"metadata":{"name":"lost"},"spec":{"matchingPrecedence":500,"priorityLevelConfiguration":{"name":"none"}}}`)
	for name, want := range map[string]flowcontrolv1.ConditionStatus{"catch-all": "False", "system-nodes": "False", "lost": "True"} {
		soon(t, func() error {
			got, err := g.do(t, "GET", path+"/"+name, nil)
			var schema flowcontrolv1.FlowSchema
			if err == nil {
				err = json.Unmarshal(got, &schema)
			}
			if err == nil && (len(schema.Status.Conditions) != 1 || schema.Status.Conditions[0].Type != flowcontrolv1.FlowSchemaConditionDangling || schema.Status.Conditions[0].Status != want) {
				err = fmt.Errorf("%s: got %+v, want %s", name, schema.Status.Conditions, want)
			}
			return err
		})
	}
}

func TestAnUpdateThatChangesNothingWritesNothing(t *testing.T) {
	g := start(t)
	made := must[corev1.ConfigMap](t, g, "POST", configMaps, configMap("same"))
	state, err := g.conn.StreamState(t.Context(), "STATE")
	if err != nil {
		t.Fatal(err)
	}
	again := must[corev1.ConfigMap](t, g, "PUT", configMaps+"/same", made)
	after, err := g.conn.StreamState(t.Context(), "STATE")
	if err != nil {
		t.Fatal(err)
	}
	if again.ResourceVersion != made.ResourceVersion || state.LastSeq != after.LastSeq {
		t.Errorf("got version %s after %s, log at %d after %d", again.ResourceVersion, made.ResourceVersion, after.LastSeq, state.LastSeq)
	}
}

func TestWritesBehaveAsUpstream(t *testing.T) {
	g := start(t)
	for name, test := range map[string]func(t *testing.T){
		"an update of an old version is a conflict, one without a version is not": func(t *testing.T) {
			old := must[corev1.ConfigMap](t, g, "POST", configMaps, configMap("versions"))
			must[corev1.ConfigMap](t, g, "PATCH", configMaps+"/versions", `{"data":{"b":"2"}}`, "application/merge-patch+json")
			old.Data["c"] = "3"
			g.fails(t, metav1.StatusReasonConflict, "the object has been modified; please apply your changes to the latest version and try again", "PUT", configMaps+"/versions", old)
			old.ResourceVersion = ""
			if got := must[corev1.ConfigMap](t, g, "PUT", configMaps+"/versions", old); got.Data["c"] != "3" {
				t.Errorf("got %v", got.Data)
			}
		},
		"generateName makes names and AlreadyExists says which": func(t *testing.T) {
			made := must[corev1.ConfigMap](t, g, "POST", configMaps, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "made-"}})
			if !strings.HasPrefix(made.Name, "made-") || len(made.Name) != len("made-")+5 {
				t.Errorf("got %q", made.Name)
			}
			g.fails(t, metav1.StatusReasonAlreadyExists, fmt.Sprintf(`configmaps %q already exists`, made.Name), "POST", configMaps, configMap(made.Name))
		},
		"a dry run writes nothing": func(t *testing.T) {
			if got := must[corev1.ConfigMap](t, g, "POST", configMaps+"?dryRun=All", configMap("dry")); got.UID == "" {
				t.Error("the answer has no uid")
			}
			g.fails(t, metav1.StatusReasonNotFound, `configmaps "dry" not found`, "GET", configMaps+"/dry", nil)
			must[corev1.ConfigMap](t, g, "POST", configMaps, configMap("dry"))
			must[metav1.Status](t, g, "DELETE", configMaps+"/dry?dryRun=All", nil)
			must[corev1.ConfigMap](t, g, "GET", configMaps+"/dry", nil)
		},
		"a patch that copies itself again and again is refused": func(t *testing.T) {
			big := configMap("copies")
			big.Data["a"] = strings.Repeat("x", 100<<10)
			must[corev1.ConfigMap](t, g, "POST", configMaps, big)
			var patch []string
			for i := range 100 {
				patch = append(patch, fmt.Sprintf(`{"op":"copy","from":"/data/a","path":"/data/a%d"}`, i))
			}
			g.fails(t, metav1.StatusReasonInvalid, "the server rejected our request due to an error in our request", "PATCH", configMaps+"/copies", "["+strings.Join(patch, ",")+"]", "application/json-patch+json")
		},
		"an object with a finalizer goes when the finalizer goes": func(t *testing.T) {
			held := configMap("held")
			held.Finalizers = []string{"example.com/hold"}
			must[corev1.ConfigMap](t, g, "POST", configMaps, held)
			marked := must[corev1.ConfigMap](t, g, "DELETE", configMaps+"/held", nil)
			if marked.DeletionTimestamp == nil || *marked.DeletionGracePeriodSeconds != 0 {
				t.Fatalf("got %+v", marked.ObjectMeta)
			}
			g.fails(t, metav1.StatusReasonAlreadyExists, "object is being deleted: ", "POST", configMaps, held)
			must[corev1.ConfigMap](t, g, "PATCH", configMaps+"/held", `{"metadata":{"finalizers":null}}`, "application/merge-patch+json")
			g.fails(t, metav1.StatusReasonNotFound, "not found", "GET", configMaps+"/held", nil)
		},
		"propagation policies become the collector's finalizers": func(t *testing.T) {
			for policy, finalizer := range map[metav1.DeletionPropagation]string{
				metav1.DeletePropagationForeground: metav1.FinalizerDeleteDependents, metav1.DeletePropagationOrphan: metav1.FinalizerOrphanDependents,
			} {
				name := strings.ToLower(string(policy))
				must[corev1.ConfigMap](t, g, "POST", configMaps, configMap(name))
				got := must[corev1.ConfigMap](t, g, "DELETE", configMaps+"/"+name, &metav1.DeleteOptions{PropagationPolicy: &policy})
				if len(got.Finalizers) != 1 || got.Finalizers[0] != finalizer {
					t.Errorf("%s: got %v", policy, got.Finalizers)
				}
			}
		},
		"preconditions of a deletion are checked": func(t *testing.T) {
			made := must[corev1.ConfigMap](t, g, "POST", configMaps, configMap("pre"))
			other := "other"
			g.fails(t, metav1.StatusReasonConflict, "the UID in the precondition (other) does not match the UID in record", "DELETE", configMaps+"/pre",
				map[string]any{"preconditions": map[string]any{"uid": other}})
			must[metav1.Status](t, g, "DELETE", configMaps+"/pre", map[string]any{"preconditions": map[string]any{"uid": made.UID, "resourceVersion": made.ResourceVersion}})
		},
		"deletecollection takes what matches": func(t *testing.T) {
			for i := range 40 {
				c := configMap(fmt.Sprintf("many-%d", i))
				c.Labels = map[string]string{"half": fmt.Sprint(i % 2)}
				must[corev1.ConfigMap](t, g, "POST", configMaps, c)
			}
			gone := must[corev1.ConfigMapList](t, g, "DELETE", configMaps+"?labelSelector=half%3D1", nil)
			left := must[corev1.ConfigMapList](t, g, "GET", configMaps+"?labelSelector=half", nil)
			if gone.ResourceVersion == "" {
				t.Error("the list of what is gone has no version")
			}
			if len(gone.Items) != 20 || len(left.Items) != 20 {
				t.Errorf("%d gone, %d left", len(gone.Items), len(left.Items))
			}
		},
		"a dry run shows what would be stored": func(t *testing.T) {
			claim := `{"metadata":{"name":"c"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}`
			got := must[corev1.PersistentVolumeClaim](t, g, "POST", "/api/v1/namespaces/default/persistentvolumeclaims?dryRun=All", claim)
			if got.Status.Phase != corev1.ClaimPending {
				t.Errorf("the phase is %q, want that of a new claim", got.Status.Phase)
			}
		},
		"deletecollection takes a page and goes on": func(t *testing.T) {
			for i := range 5 {
				c := configMap(fmt.Sprintf("page-%d", i))
				c.Labels = map[string]string{"paged": "yes"}
				must[corev1.ConfigMap](t, g, "POST", configMaps, c)
			}
			first := must[corev1.ConfigMapList](t, g, "DELETE", configMaps+"?labelSelector=paged&limit=2", nil)
			late := configMap("page-9")
			late.Labels = map[string]string{"paged": "yes"}
			must[corev1.ConfigMap](t, g, "POST", configMaps, late)
			rest := must[corev1.ConfigMapList](t, g, "DELETE", configMaps+"?labelSelector=paged&limit=5&continue="+first.Continue, nil)
			if len(first.Items) != 2 || len(rest.Items) != 3 || rest.Items[0].Name != "page-2" || rest.Continue != "" {
				t.Errorf("got %d, then %d with continue %q", len(first.Items), len(rest.Items), rest.Continue)
			}
			if left := must[corev1.ConfigMapList](t, g, "GET", configMaps+"?labelSelector=paged", nil); len(left.Items) != 1 || left.Items[0].Name != "page-9" {
				t.Errorf("%d are left, want what came after the first page", len(left.Items))
			}
		},
		"server-side apply owns fields and refuses to take others'": func(t *testing.T) {
			const apply, yaml = "application/apply-patch+yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {a: %q}\n"
			must[corev1.ConfigMap](t, g, "PATCH", configMaps+"/applied?fieldManager=one", fmt.Sprintf(yaml, "1"), apply)
			g.fails(t, metav1.StatusReasonConflict, `conflict with "one": .data.a`, "PATCH", configMaps+"/applied?fieldManager=two", fmt.Sprintf(yaml, "2"), apply)
			got := must[corev1.ConfigMap](t, g, "PATCH", configMaps+"/applied?fieldManager=two&force=true", fmt.Sprintf(yaml, "2"), apply)
			if got.Data["a"] != "2" || len(got.ManagedFields) != 1 || got.ManagedFields[0].Manager != "two" {
				t.Errorf("got %v, %d managers", got.Data, len(got.ManagedFields))
			}
		},
		"unknown fields are errors when asked for, warnings else": func(t *testing.T) {
			body := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"strict"},"dat":{}}`
			g.fails(t, metav1.StatusReasonBadRequest, `strict decoding error: unknown field "dat"`, "POST", configMaps+"?fieldValidation=Strict", body)
			must[corev1.ConfigMap](t, g, "POST", configMaps+"?fieldValidation=Warn", body)
		},
		"what is not served says so": func(t *testing.T) {
			for _, path := range []string{"/api/v1/widgets", "/apis/batch/v1/namespaces/default/widgets", "/api/v1/pods/x", "/api/v1/namespaces/default/nodes", "/api/v1/namespaces/default/pods/x/nothing", "/api/v1/proxy/nodes/x", "/apis/apps/v9"} {
				g.fails(t, metav1.StatusReasonNotFound, "the server could not find the requested resource", "GET", path, nil)
			}
			g.fails(t, metav1.StatusReasonMethodNotAllowed, "the server does not allow this method on the requested resource", "POST", "/api/v1/pods", "{}")
		},
		"a method on the wrong kind of path is not allowed": func(t *testing.T) {
			must[corev1.ConfigMap](t, g, "POST", configMaps, configMap("there"))
			for _, c := range [][2]string{{"POST", configMaps + "/there"}, {"PUT", configMaps}, {"PATCH", configMaps}, {"POST", "/api/v1/watch/configmaps"}, {"POST", configMaps + "/there/x"}} {
				reason := metav1.StatusReasonMethodNotAllowed
				if strings.HasSuffix(c[1], "/x") {
					reason = metav1.StatusReasonNotFound
				}
				g.fails(t, reason, "the server", c[0], c[1], configMap("there"), "application/merge-patch+json")
			}
		},
		"what is only created cannot be a Table": func(t *testing.T) {
			must[corev1.ServiceAccount](t, g, "POST", "/api/v1/namespaces/default/serviceaccounts", `{"metadata":{"name":"tables"}}`)
			for path, body := range map[string]string{
				"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews":  `{"spec":{"nonResourceAttributes":{"path":"/","verb":"get"}}}`,
				"/apis/authentication.k8s.io/v1/selfsubjectreviews":       `{}`,
				"/api/v1/namespaces/default/serviceaccounts/tables/token": `{}`,
				"/api/v1/namespaces/default/pods/tables/binding":          `{"metadata":{"name":"tables"},"target":{"name":"n"}}`,
				"/api/v1/namespaces/default/pods/tables/eviction":         `{"metadata":{"name":"tables"}}`,
			} {
				_, err := g.admin.Do(t.Context(), apiclient.Request{Method: "POST", Path: path, Body: []byte(body), Accept: "application/json;as=Table;v=v1;g=meta.k8s.io"})
				if apierrors.ReasonForError(err) != metav1.StatusReasonNotAcceptable {
					t.Errorf("%s: got %v", path, err)
				}
			}
		},
		"a review has no name and nothing below it": func(t *testing.T) {
			g.fails(t, metav1.StatusReasonNotFound, "the server could not find the requested resource", "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews/x", "{}")
			g.fails(t, metav1.StatusReasonMethodNotAllowed, "", "GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", nil)
		},
		"the options of a log are looked at before the pod": func(t *testing.T) {
			const log = "/api/v1/namespaces/default/pods/nowhere/log"
			g.fails(t, metav1.StatusReasonInvalid, "tailLines: Invalid value: -1", "GET", log+"?tailLines=-1", nil)
			g.fails(t, metav1.StatusReasonNotFound, "", "GET", log, nil)
			g.fails(t, metav1.StatusReasonMethodNotAllowed, "", "POST", log, nil)
		},
		"deprecated kinds warn": func(t *testing.T) {
			for path, want := range map[string]string{"/api/v1/endpoints": `299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"`, "/api/v1/pods": ""} {
				w := httptest.NewRecorder()
				g.Gateway.ServeAs(AdminUser, w, httptest.NewRequest("GET", path, nil))
				if got := w.Header().Get("Warning"); got != want {
					t.Errorf("%s: got %q, want %q", path, got, want)
				}
			}
		},
		"a pod without a node has no log": func(t *testing.T) {
			must[corev1.ServiceAccount](t, g, "POST", "/api/v1/namespaces/default/serviceaccounts", `{"metadata":{"name":"silent"}}`)
			must[corev1.Pod](t, g, "POST", "/api/v1/namespaces/default/pods", `{"metadata":{"name":"silent"},"spec":{"serviceAccountName":"silent","containers":[{"name":"c","image":"i"}]}}`)
			w := httptest.NewRecorder()
			g.Gateway.ServeAs(AdminUser, w, httptest.NewRequest("GET", "/api/v1/namespaces/default/pods/silent/log", nil))
			if w.Code != http.StatusNoContent || w.Body.Len() > 0 {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
		},
		"a Service that becomes an external name loses its traffic policy": func(t *testing.T) {
			const path = "/api/v1/namespaces/default/services"
			must[corev1.Service](t, g, "POST", path, `{"metadata":{"name":"leaves"},"spec":{"ports":[{"port":80}]}}`)
			got := must[corev1.Service](t, g, "PATCH", path+"/leaves", `{"spec":{"type":"ExternalName","externalName":"a.b"}}`, "application/merge-patch+json")
			if got.Spec.InternalTrafficPolicy != nil || got.Spec.ClusterIP != "" {
				t.Errorf("got %+v", got.Spec)
			}
		},
		"a new object that claims a version is refused": func(t *testing.T) {
			claims := configMap("claims")
			claims.ResourceVersion = "5"
			g.fails(t, metav1.StatusReasonUnknown, "resourceVersion should not be set on objects to be created", "POST", configMaps, claims)
			must[corev1.ConfigMap](t, g, "POST", configMaps+"?dryRun=All", claims)
		},
		"nothing is created where there is no namespace": func(t *testing.T) {
			g.fails(t, metav1.StatusReasonNotFound, `namespaces "nowhere" not found`, "POST", "/api/v1/namespaces/nowhere/configmaps", configMap("x"))
			g.fails(t, metav1.StatusReasonForbidden, "this namespace may not be deleted", "DELETE", "/api/v1/namespaces/default", nil)
		},
		"a namespace terminates, takes nothing new and goes when finalized": func(t *testing.T) {
			must[corev1.Namespace](t, g, "POST", "/api/v1/namespaces", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "leaving"}})
			ns := must[corev1.Namespace](t, g, "DELETE", "/api/v1/namespaces/leaving", nil)
			if ns.Status.Phase != corev1.NamespaceTerminating || len(ns.Spec.Finalizers) != 1 {
				t.Fatalf("got %+v", ns)
			}
			g.fails(t, metav1.StatusReasonForbidden, "because it is being terminated", "POST", "/api/v1/namespaces/leaving/configmaps", configMap("late"))
			ns.Spec.Finalizers = nil
			must[corev1.Namespace](t, g, "PUT", "/api/v1/namespaces/leaving/finalize", ns)
			g.fails(t, metav1.StatusReasonNotFound, `namespaces "leaving" not found`, "GET", "/api/v1/namespaces/leaving", nil)
		},
		"an Event is one object under two groups": func(t *testing.T) {
			must[corev1.Event](t, g, "POST", "/api/v1/namespaces/default/events", &corev1.Event{
				ObjectMeta: metav1.ObjectMeta{Name: "seen", Namespace: "default"}, Reason: "Because", Type: "Normal",
				InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "p"}, Source: corev1.EventSource{Component: "test"},
			})
			got := must[eventsv1.Event](t, g, "GET", "/apis/events.k8s.io/v1/namespaces/default/events/seen", nil)
			if got.Reason != "Because" || got.Regarding.Name != "p" {
				t.Errorf("got %+v", got)
			}
			const under = "/apis/events.k8s.io/v1/namespaces/default/events"
			g.fails(t, metav1.StatusReasonNotFound, `events.events.k8s.io "none" not found`, "DELETE", under+"/none", nil)
			g.fails(t, metav1.StatusReasonNotFound, `events "none" not found`, "DELETE", "/api/v1/namespaces/default/events/none", nil)
			g.fails(t, metav1.StatusReasonNotFound, `events.events.k8s.io "none" not found`, "PATCH", under+"/none", `{}`, mergePatch)
		},
		"a Secret is not readable in the log": func(t *testing.T) {
			must[corev1.Secret](t, g, "POST", "/api/v1/namespaces/default/secrets", &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, StringData: map[string]string{"k": "hunter2"}})
			gr := proto.GroupResource{Resource: "secrets"}
			kept := g.state.View(gr).Get(gr, "default", "s").Data()
			if bytes.Contains(kept, []byte("hunter2")) || bytes.Contains(kept, []byte("aHVudGVyMg")) {
				t.Errorf("the log holds %s", kept)
			}
			same := must[corev1.Secret](t, g, "GET", "/api/v1/namespaces/default/secrets/s", nil)
			if again := must[corev1.Secret](t, g, "PUT", "/api/v1/namespaces/default/secrets/s", same); string(again.Data["k"]) != "hunter2" || again.ResourceVersion != same.ResourceVersion {
				t.Errorf("got %+v", again)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

const podPath = "/api/v1/namespaces/default/pods"

func pod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
}

func TestPods(t *testing.T) {
	g := start(t)
	must[corev1.ServiceAccount](t, g, "POST", "/api/v1/namespaces/default/serviceaccounts", &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	must[corev1.Node](t, g, "POST", "/api/v1/nodes", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{corev1.LabelTopologyZone: "z"}}})

	t.Run("admission gives an account, a token, tolerations and a priority", func(t *testing.T) {
		p := must[corev1.Pod](t, g, "POST", podPath, pod("admitted"))
		if p.Spec.ServiceAccountName != "default" || len(p.Spec.Volumes) != 1 || len(p.Spec.Tolerations) != 2 || p.Spec.Priority == nil {
			t.Errorf("got %+v", p.Spec)
		}
		critical := pod("critical")
		critical.Spec.PriorityClassName = "system-node-critical"
		if p := must[corev1.Pod](t, g, "POST", podPath, critical); *p.Spec.Priority != 2000001000 {
			t.Errorf("got priority %d", *p.Spec.Priority)
		}
		none := pod("none")
		none.Spec.PriorityClassName = "nothing"
		g.fails(t, metav1.StatusReasonForbidden, "no PriorityClass with name nothing was found", "POST", podPath, none)
		none.Spec.PriorityClassName, none.Spec.ServiceAccountName = "", "nobody"
		g.fails(t, metav1.StatusReasonForbidden, `error looking up service account default/nobody: serviceaccount "nobody" not found`, "POST", podPath, none)
	})
	t.Run("a pod is bound once and carries its node's zone", func(t *testing.T) {
		must[corev1.Pod](t, g, "POST", podPath, pod("bound"))
		to := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "bound"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}
		must[metav1.Status](t, g, "POST", podPath+"/bound/binding", to)
		g.fails(t, metav1.StatusReasonConflict, `pod bound is already assigned to node "n1"`, "POST", podPath+"/bound/binding", to)
		p := must[corev1.Pod](t, g, "GET", podPath+"/bound", nil)
		if p.Spec.NodeName != "n1" || p.Labels[corev1.LabelTopologyZone] != "z" {
			t.Errorf("got node %q, labels %v", p.Spec.NodeName, p.Labels)
		}
		g.fails(t, metav1.StatusReasonNotFound, `pods "gone" not found`, "POST", podPath+"/gone/binding", &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "gone"}, Target: to.Target})
	})
	t.Run("a bound pod is deleted with grace, then at once", func(t *testing.T) {
		p := must[corev1.Pod](t, g, "DELETE", podPath+"/bound", nil)
		if p.DeletionTimestamp == nil || *p.DeletionGracePeriodSeconds != 30 {
			t.Fatalf("got %+v", p.ObjectMeta)
		}
		must[corev1.Pod](t, g, "DELETE", podPath+"/bound", nil) // again changes nothing
		zero := int64(0)
		gone := must[corev1.Pod](t, g, "DELETE", podPath+"/bound", &metav1.DeleteOptions{GracePeriodSeconds: &zero})
		if *gone.DeletionGracePeriodSeconds != 0 {
			t.Errorf("got grace %d in the final state", *gone.DeletionGracePeriodSeconds)
		}
		g.fails(t, metav1.StatusReasonNotFound, "not found", "GET", podPath+"/bound", nil)
	})
	t.Run("an unbound pod goes at once", func(t *testing.T) {
		must[corev1.Pod](t, g, "DELETE", podPath+"/admitted", nil)
		g.fails(t, metav1.StatusReasonNotFound, "not found", "GET", podPath+"/admitted", nil)
	})
	t.Run("status is written by its subresource alone", func(t *testing.T) {
		p := must[corev1.Pod](t, g, "POST", podPath, pod("status"))
		p.Status.Phase, p.Spec.Containers[0].Image = corev1.PodRunning, "other"
		if got := must[corev1.Pod](t, g, "PUT", podPath+"/status/status", p); got.Status.Phase != corev1.PodRunning || got.Spec.Containers[0].Image != "i" {
			t.Errorf("got %s, %s", got.Status.Phase, got.Spec.Containers[0].Image)
		}
		got := must[corev1.Pod](t, g, "PATCH", podPath+"/status", `{"status":{"phase":"Failed"}}`, "application/strategic-merge-patch+json")
		if got.Status.Phase != corev1.PodRunning {
			t.Errorf("got %s", got.Status.Phase)
		}
	})
	t.Run("an eviction deletes and says so in the status", func(t *testing.T) {
		must[corev1.Pod](t, g, "POST", podPath, pod("evicted"))
		must[metav1.Status](t, g, "POST", podPath+"/evicted/binding", &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "evicted"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}})
		must[metav1.Status](t, g, "POST", podPath+"/evicted/eviction", &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "evicted"}})
		p := must[corev1.Pod](t, g, "GET", podPath+"/evicted", nil)
		if c := p.Status.Conditions[len(p.Status.Conditions)-1]; p.DeletionTimestamp == nil || c.Type != corev1.DisruptionTarget {
			t.Errorf("got %v, %+v", p.DeletionTimestamp, p.Status.Conditions)
		}
	})
}

func TestScale(t *testing.T) {
	g := start(t)
	replicas := int32(2)
	labels := map[string]string{"app": "web"}
	const path = "/apis/apps/v1/namespaces/default/deployments"
	must[appsv1.Deployment](t, g, "POST", path, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}},
	}})
	s := must[autoscalingv1.Scale](t, g, "GET", path+"/web/scale", nil)
	if s.Spec.Replicas != 2 || s.Status.Selector != "app=web" || s.Kind != "Scale" {
		t.Errorf("got %+v", s)
	}
	must[autoscalingv1.Scale](t, g, "PATCH", path+"/web/scale", `{"spec":{"replicas":5}}`, "application/merge-patch+json")
	d := must[appsv1.Deployment](t, g, "GET", path+"/web", nil)
	if *d.Spec.Replicas != 5 || d.Generation != 2 {
		t.Errorf("got %d replicas, generation %d", *d.Spec.Replicas, d.Generation)
	}
	g.fails(t, metav1.StatusReasonInvalid, "must be greater than or equal to 0", "PATCH", path+"/web/scale", `{"spec":{"replicas":-1}}`, "application/merge-patch+json")
}

func TestBulk(t *testing.T) {
	g := start(t)
	api := apiclient.New(apiclient.OverBus(g.conn), proto.ControllerUser("deployment-controller"))
	item := func(name, body string) apiclient.Request {
		return apiclient.Request{Method: "POST", Path: configMaps, Body: []byte(fmt.Sprintf(`{"metadata":{"name":%q}%s}`, name, body))}
	}
	t.Run("items stand alone", func(t *testing.T) {
		var items []apiclient.Request
		for i := range 50 {
			items = append(items, item(fmt.Sprintf("b-%d", i), ""))
		}
		items = append(items, item("Not A Name", ""))
		results, err := g.admin.Bulk(t.Context(), apiclient.BulkOptions{}, items)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range results {
			if want := map[bool]int{true: http.StatusCreated, false: http.StatusUnprocessableEntity}[i < 50]; r.Code != want {
				t.Errorf("item %d: got %d %v", i, r.Code, r.Err)
			}
		}
	})
	t.Run("an atomic bulk with a bad item writes nothing", func(t *testing.T) {
		results, err := g.admin.Bulk(t.Context(), apiclient.BulkOptions{Atomic: true}, []apiclient.Request{item("all-1", ""), item("b-1", ""), item("all-2", "")})
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range results {
			if r.Err == nil {
				t.Errorf("item %d was written: %d", i, r.Code)
			}
		}
		g.fails(t, metav1.StatusReasonNotFound, "not found", "GET", configMaps+"/all-1", nil)
	})
	t.Run("an atomic bulk is written whole", func(t *testing.T) {
		results, err := g.admin.Bulk(t.Context(), apiclient.BulkOptions{Atomic: true}, []apiclient.Request{item("whole-1", ""), item("whole-2", "")})
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range results {
			if r.Err != nil {
				t.Errorf("item %d: %v", i, r.Err)
			}
		}
	})
	t.Run("a fence that was taken anew stops the old holder", func(t *testing.T) {
		api := api.As(proto.SchedulerUser) // whose fence it is
		first, err := api.AcquireFence(t.Context(), "scheduler-planner", "one", 0)
		if err != nil {
			t.Fatal(err)
		}
		second, err := api.AcquireFence(t.Context(), "scheduler-planner", "two", first.Epoch)
		if err != nil || second.Holder != "two" {
			t.Fatalf("got %v, %v", second, err)
		}
		fenced := func(s interface{ GetEpoch() uint64 }) apiclient.BulkOptions {
			return apiclient.BulkOptions{Fence: &message.Fence{Name: "scheduler-planner", Epoch: s.GetEpoch()}}
		}
		results, err := g.admin.Bulk(t.Context(), fenced(first), []apiclient.Request{item("late", "")})
		if err != nil || !apierrors.IsConflict(results[0].Err) {
			t.Errorf("the old holder: got %v, %v", results, err)
		}
		results, err = g.admin.Bulk(t.Context(), fenced(second), []apiclient.Request{item("timely", "")})
		if err != nil || results[0].Err != nil {
			t.Errorf("the new holder: got %v, %v", results, err)
		}
	})
	t.Run("nobody on the bus is the administrator", func(t *testing.T) {
		_, err := apiclient.New(apiclient.OverBus(g.conn), AdminUser).Do(t.Context(), apiclient.Request{Path: "/api/v1/namespaces"})
		if err == nil {
			t.Error("the gateway answered")
		}
		_, err = apiclient.New(apiclient.OverBus(g.conn), proto.NodeUser("n")).AcquireFence(t.Context(), "scheduler-planner", "node", 0)
		if !apierrors.IsForbidden(err) {
			t.Errorf("a node took a fence: %v", err)
		}
		for fence, taken := range map[string]bool{"status": true, "controllers-workloads": false, "scheduler-planner": false} {
			_, err = apiclient.New(apiclient.OverBus(g.conn), proto.StatusUser).AcquireFence(t.Context(), fence, "status", 0)
			if taken != (err == nil) {
				t.Errorf("the status service asked for the fence %s: %v", fence, err)
			}
		}
	})
}

// settled waits until the gateway has written what it writes a moment after the start:
// that metrics are there, with which discovery changes, and of each FlowSchema whether
// its priority level is.
func (g *running) settled(t *testing.T) {
	t.Helper()
	const metrics = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io"
	const flows = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		available, err := g.do(t, "GET", metrics, nil)
		if err == nil && strings.Contains(string(available), `"type":"Available"`) {
			judged := must[flowcontrolv1.FlowSchemaList](t, g, "GET", flows, nil)
			if !slices.ContainsFunc(judged.Items, func(f flowcontrolv1.FlowSchema) bool { return len(f.Status.Conditions) == 0 }) {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("the APIService of metrics, or the conditions of FlowSchemas, do not appear")
		}
	}
}

func TestASecondStartWritesNothing(t *testing.T) {
	g := start(t)
	g.settled(t)
	before, err := g.conn.StreamState(t.Context(), "STATE")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, err := g.conn.StreamState(t.Context(), "STATE")
	if err != nil || after.LastSeq != before.LastSeq {
		t.Errorf("the log went from %d to %d, %v", before.LastSeq, after.LastSeq, err)
	}
}

func TestDiscoveryAndDocuments(t *testing.T) {
	g := start(t)
	g.settled(t)
	must[corev1.Namespace](t, g, "GET", "/api/v1/namespaces/default", nil) // so that there is something to count
	for path, part := range map[string]string{
		"/api": `"versions":["v1"]`, "/apis/": `"name":"apps"`, "/apis/apps": `"preferredVersion"`, "/api/v1": `"pods/binding"`,
		"/apis/apps/v1/": `"deployments/scale"`, "/version": "v1.37.2+kubus.test", "/openapi/v3": "/openapi/v3/apis/apps/v1?hash=",
		"/openapi/v3/api/v1": "io.k8s.api.core.v1.ConfigMap", "/openapi/v2": "io.k8s.api.apps.v1.Deployment", "/readyz": "ok", "/readyz?verbose": "[+]bus ok", "/livez": "ok",
		"/metrics": "apiserver_request_total{code=",
	} {
		data, err := g.do(t, "GET", path, nil)
		if err != nil || !bytes.Contains(data, []byte(part)) {
			t.Errorf("%s: got %v, %.300s, want %s in it", path, err, data, part)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", g.url+"/apis", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json")
	for _, want := range []int{http.StatusOK, http.StatusNotModified} {
		resp, err := g.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("got %d, want %d", resp.StatusCode, want)
		}
		req.Header.Set("If-None-Match", resp.Header.Get("ETag"))
	}
}
