package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto/apiclient"
)

const registrations = "/apis/admissionregistration.k8s.io/v1/"

// hooks is a server of webhooks that writes down what it was asked.
type hooks struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string // "path operation resource/subresource name"
	// answers by path; a path without one allows.
	answers map[string]func(ctx context.Context, r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse
}

func newHooks(t *testing.T) *hooks {
	t.Helper()
	h := &hooks{answers: map[string]func(context.Context, *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse{}}
	h.Server = httptest.NewUnstartedServer(http.HandlerFunc(h.serve))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"hook.hooked.svc"},
	}
	der, err := x509.CreateCertificate(nil, template, template, testKey.Public(), testKey)
	if err != nil {
		t.Fatal(err)
	}
	h.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: testKey}}} //nolint:gosec // the default version is new enough
	h.StartTLS()
	t.Cleanup(h.Close)
	return h
}

func (h *hooks) serve(w http.ResponseWriter, r *http.Request) {
	review := admissionv1.AdmissionReview{}
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
		http.Error(w, fmt.Sprint("no review: ", err), http.StatusBadRequest)
		return
	}
	what := review.Request.Resource.Resource
	if review.Request.SubResource != "" {
		what += "/" + review.Request.SubResource
	}
	h.mu.Lock()
	h.asked = append(h.asked, fmt.Sprintf("%s %s %s %s", r.URL.Path, review.Request.Operation, what, review.Request.Name))
	answer := h.answers[r.URL.Path]
	h.mu.Unlock()
	review.Response = &admissionv1.AdmissionResponse{Allowed: true}
	if answer != nil {
		review.Response = answer(r.Context(), review.Request)
	}
	review.Response.UID = review.Request.UID
	_ = json.NewEncoder(w).Encode(review)
}

// answer sets what a path says.
func (h *hooks) answer(path string, answer func(context.Context, *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answers[path] = answer
}

// told gives what was asked at a path since the last call.
func (h *hooks) told(path string) (out []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = slices.DeleteFunc(h.asked, func(line string) bool {
		rest, ok := strings.CutPrefix(line, path+" ")
		if ok {
			out = append(out, rest)
		}
		return ok
	})
	return out
}

// client says how the gateway reaches a path.
func (h *hooks) client(path string) registrationv1.WebhookClientConfig {
	url := h.URL + path
	return registrationv1.WebhookClientConfig{URL: &url, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})}
}

func on(resource string, operations ...registrationv1.OperationType) []registrationv1.RuleWithOperations {
	return []registrationv1.RuleWithOperations{{Operations: operations, Rule: registrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{resource}}}}
}

func ptr[T any](v T) *T { return &v }

func (h *hooks) mutating(path string, rules []registrationv1.RuleWithOperations) registrationv1.MutatingWebhook {
	return registrationv1.MutatingWebhook{
		Name: strings.TrimPrefix(path, "/") + ".example.com", ClientConfig: h.client(path), Rules: rules,
		SideEffects: ptr(registrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
	}
}

func (h *hooks) validating(path string, rules []registrationv1.RuleWithOperations) registrationv1.ValidatingWebhook {
	return registrationv1.ValidatingWebhook{
		Name: strings.TrimPrefix(path, "/") + ".example.com", ClientConfig: h.client(path), Rules: rules,
		SideEffects: ptr(registrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
	}
}

func register(t *testing.T, g *running, name string, webhooks ...any) {
	t.Helper()
	object := map[string]any{"metadata": map[string]any{"name": name}, "webhooks": webhooks}
	resource := "mutatingwebhookconfigurations"
	if _, ok := webhooks[0].(registrationv1.ValidatingWebhook); ok {
		resource = "validatingwebhookconfigurations"
	}
	must[map[string]any](t, g, "POST", registrations+resource, object)
	t.Cleanup(func() {
		if err := apiclient.Delete(context.WithoutCancel(t.Context()), g.admin, registrations+resource+"/"+name, nil); err != nil {
			t.Error(err)
		}
	})
}

func patch(operations string) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Allowed: true, Patch: []byte(operations), PatchType: ptr(admissionv1.PatchTypeJSONPatch)}
}

func denied(message string) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: message, Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden}}
}

func TestWebhooks(t *testing.T) {
	g, h := start(t), newHooks(t)
	path := newNamespace(t, g, "hooked", "hooked", "yes") + "/configmaps"
	other := newNamespace(t, g, "other") + "/configmaps"
	marked := func(t *testing.T, path string, want string) {
		t.Helper()
		if got := must[corev1.ConfigMap](t, g, "POST", path, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "c-"}, Data: map[string]string{}}); got.Data["mark"] != want {
			t.Errorf("got %v, want the mark %q", got.Data, want)
		}
	}
	h.answer("/mark", func(context.Context, *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return patch(`[{"op":"add","path":"/data","value":{"mark":"yes"}}]`)
	})
	h.answer("/deny", func(context.Context, *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return denied("not today")
	})
	everything := []registrationv1.OperationType{registrationv1.OperationAll}

	for name, test := range map[string]func(t *testing.T){
		"the first one changes the next object already, where its selector says": func(t *testing.T) {
			hook := h.mutating("/mark", on("configmaps", registrationv1.Create))
			hook.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"hooked": "yes"}}
			register(t, g, "mark", hook)
			marked(t, path, "yes")
			marked(t, other, "")
		},
		"one that denies is told in its own words": func(t *testing.T) {
			register(t, g, "deny", h.validating("/deny", on("configmaps", registrationv1.Create, registrationv1.Delete)))
			g.fails(t, metav1.StatusReasonForbidden, `admission webhook "deny.example.com" denied the request: not today`, "POST", path, configMap("x"))
		},
		"every verb and every form of a patch meets it": func(t *testing.T) {
			made := must[corev1.ConfigMap](t, g, "POST", path, configMap("verbs"))
			register(t, g, "verbs", h.validating("/verbs", on("configmaps", everything...)))
			must[corev1.ConfigMap](t, g, "PUT", path+"/verbs", made)
			must[corev1.ConfigMap](t, g, "PATCH", path+"/verbs", `{"data":{"b":"1"}}`, apiclient.MergePatch)
			must[corev1.ConfigMap](t, g, "PATCH", path+"/verbs", `{"data":{"b":"2"}}`, apiclient.StrategicMergePatch)
			must[corev1.ConfigMap](t, g, "PATCH", path+"/verbs", `[{"op":"add","path":"/data/c","value":"3"}]`, apiclient.JSONPatch)
			must[corev1.ConfigMap](t, g, "PATCH", path+"/verbs?fieldManager=t&force=true", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"verbs"},"data":{"d":"4"}}`, apiclient.ApplyPatch)
			must[corev1.ConfigMap](t, g, "PATCH", path+"/applied?fieldManager=t", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"applied"}}`, apiclient.ApplyPatch)
			must[metav1.Status](t, g, "DELETE", path+"/verbs", nil)
			want := append(slices.Repeat([]string{"UPDATE configmaps verbs"}, 5), "CREATE configmaps applied", "DELETE configmaps verbs")
			if got := h.told("/verbs"); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		},
		"subresources are asked for by name": func(t *testing.T) {
			pods := "/api/v1/namespaces/hooked/pods"
			must[corev1.Pod](t, g, "POST", pods, pod("sub"))
			register(t, g, "sub", h.validating("/sub", on("pods/*", everything...)))
			must[corev1.Pod](t, g, "PATCH", pods+"/sub/status", `{"status":{"message":"m"}}`, apiclient.MergePatch)
			must[corev1.Node](t, g, "POST", "/api/v1/nodes", `{"metadata":{"name":"sub"}}`)
			must[metav1.Status](t, g, "POST", pods+"/sub/binding", `{"metadata":{"name":"sub"},"target":{"kind":"Node","name":"sub"}}`)
			if got, want := h.told("/sub"), []string{"UPDATE pods/status sub", "CREATE pods/binding sub"}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		},
		"what it adds to a custom resource is pruned by its schema": func(t *testing.T) {
			g.defined(t, definition("hooked.example.com", "widgets", "Widget", "Namespaced", version("v1", true, widgetSchema)))
			h.answer("/widget", func(context.Context, *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
				return patch(`[{"op":"add","path":"/spec/color","value":"blue"},{"op":"add","path":"/spec/other","value":1}]`)
			})
			hook := h.mutating("/widget", on("widgets", everything...))
			hook.Rules[0].APIGroups = []string{"hooked.example.com"}
			register(t, g, "widget", hook)
			path := "/apis/hooked.example.com/v1/namespaces/hooked/widgets"
			pruned := func(got *object) {
				t.Helper()
				if field(t, got, "spec", "color") != "blue" || field(t, got, "spec", "other") != nil {
					t.Errorf("got %v", got.Object)
				}
			}
			pruned(must[object](t, g, "POST", path, `{"apiVersion":"hooked.example.com/v1","kind":"Widget","metadata":{"name":"w"},"spec":{}}`))
			pruned(must[object](t, g, "PATCH", path+"/w", `{"spec":{"color":"red"}}`, apiclient.MergePatch))
			pruned(must[object](t, g, "GET", path+"/w", nil))
		},
		"opening a stream is an operation": func(t *testing.T) {
			pods := "/api/v1/namespaces/hooked/pods"
			must[corev1.Pod](t, g, "POST", pods, pod("stream"))
			seen := make(chan string, 1)
			h.answer("/stream", func(_ context.Context, r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
				seen <- string(r.Object.Raw)
				return denied("no shell")
			})
			register(t, g, "stream", h.validating("/stream", on("pods/exec", registrationv1.Connect)))
			g.fails(t, metav1.StatusReasonForbidden, `admission webhook "stream.example.com" denied the request: no shell`, "POST", pods+"/stream/exec?command=sh&stdout=true", nil)
			options := corev1.PodExecOptions{}
			if err := json.Unmarshal([]byte(<-seen), &options); err != nil || options.Kind != "PodExecOptions" || !slices.Equal(options.Command, []string{"sh"}) || !options.Stdout {
				t.Errorf("got %+v, %v", options, err)
			}
		},
		"who cannot be reached fails the request, or is ignored": func(t *testing.T) {
			hook := h.validating("/gone", on("configmaps", registrationv1.Create))
			hook.ClientConfig.URL = ptr("https://127.0.0.1:1/gone")
			hook.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"hooked": "yes"}}
			ignored := hook
			ignored.Name, ignored.FailurePolicy = "ignored.example.com", ptr(registrationv1.Ignore)
			ignored.NamespaceSelector = nil
			register(t, g, "gone", hook, ignored)
			g.fails(t, metav1.StatusReasonInternalError, `failed calling webhook "gone.example.com"`, "POST", path, configMap("x"))
			must[corev1.ConfigMap](t, g, "POST", other, configMap("unreached"))
		},
		"who does not answer in its time fails the request": func(t *testing.T) {
			h.answer("/slow", func(ctx context.Context, _ *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
				<-ctx.Done()
				return denied("too late")
			})
			hook := h.validating("/slow", on("configmaps", registrationv1.Create))
			hook.TimeoutSeconds = ptr[int32](1)
			register(t, g, "slow", hook)
			g.fails(t, metav1.StatusReasonInternalError, `failed calling webhook "slow.example.com"`, "POST", path, configMap("x"))
		},
		"match conditions decide who is asked at all": func(t *testing.T) {
			hook := h.validating("/deny", on("configmaps", registrationv1.Create))
			hook.MatchConditions = []registrationv1.MatchCondition{{Name: "named", Expression: `object.metadata.name == "x"`}}
			register(t, g, "conditions", hook)
			g.fails(t, metav1.StatusReasonForbidden, "not today", "POST", path, configMap("x"))
			must[corev1.ConfigMap](t, g, "POST", path, configMap("unmatched"))
		},
		"a dry run is refused by who has side effects": func(t *testing.T) {
			hook := h.validating("/deny", on("configmaps", registrationv1.Create))
			hook.SideEffects = ptr(registrationv1.SideEffectClassNoneOnDryRun)
			calm := h.mutating("/calm", on("configmaps", registrationv1.Create))
			register(t, g, "effects", hook)
			register(t, g, "calm", calm)
			h.answer("/calm", nil)
			g.fails(t, metav1.StatusReasonForbidden, "not today", "POST", path+"?dryRun=All", configMap("x"))
			if got := h.told("/calm"); len(got) != 1 {
				t.Errorf("got %q", got)
			}
		},
		"one that asks for it is asked again when a later one changed the object": func(t *testing.T) {
			h.answer("/first", func(context.Context, *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
				return &admissionv1.AdmissionResponse{Allowed: true}
			})
			first, second := h.mutating("/first", on("configmaps", registrationv1.Create)), h.mutating("/mark", on("configmaps", registrationv1.Create))
			first.ReinvocationPolicy = ptr(registrationv1.IfNeededReinvocationPolicy)
			register(t, g, "again", first, second)
			marked(t, path, "yes")
			if got := h.told("/first"); len(got) != 2 {
				t.Errorf("got %q", got)
			}
		},
		"none sees what configures them": func(t *testing.T) {
			register(t, g, "own", h.validating("/deny", on("*/*", everything...)))
			must[map[string]any](t, g, "PATCH", registrations+"validatingwebhookconfigurations/own", `{"metadata":{"labels":{"a":"b"}}}`, apiclient.MergePatch)
			must[map[string]any](t, g, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", `{"spec":{"nonResourceAttributes":{"path":"/","verb":"get"}}}`)
		},
		"members of a bulk meet them as others do": func(t *testing.T) {
			register(t, g, "bulk", h.validating("/deny", on("configmaps", registrationv1.Create)))
			items := []apiclient.Request{{Method: "POST", Path: path, Body: encoded(t, configMap("bulk"))}}
			results, err := g.admin.Bulk(t.Context(), apiclient.BulkOptions{}, items)
			if err != nil || len(results) != 1 || results[0].Err == nil || !strings.Contains(results[0].Err.Error(), "not today") {
				t.Errorf("got %+v, %v", results, err)
			}
		},
		"one that names a Service is called at a pod of it, by the Service's name": func(t *testing.T) {
			called := make(chan string, 1)
			g.dialService = func(ctx context.Context, namespace, service string, port int32) (net.Conn, error) {
				called <- fmt.Sprintf("%s/%s:%d", namespace, service, port)
				return (&net.Dialer{}).DialContext(ctx, "tcp", h.Listener.Addr().String())
			}
			hook := h.validating("/deny", on("configmaps", registrationv1.Create))
			hook.ClientConfig.URL = nil
			hook.ClientConfig.Service = &registrationv1.ServiceReference{Namespace: "hooked", Name: "hook", Path: ptr("/deny"), Port: ptr[int32](8443)}
			register(t, g, "service", hook)
			g.fails(t, metav1.StatusReasonForbidden, "not today", "POST", path, configMap("x"))
			if got := <-called; got != "hooked/hook:8443" {
				t.Errorf("got %s", got)
			}
		},
	} {
		t.Run(name, test)
	}
}
