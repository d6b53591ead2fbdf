package gateway

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	api "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
)

const wardle = "/apis/wardle.example.com/v1"

// extension is another API server. It tells who it was told that the user is.
func extension(t *testing.T) *httptest.Server {
	t.Helper()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux := http.NewServeMux()
	mux.HandleFunc(wardle, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, metav1.APIResourceList{GroupVersion: "wardle.example.com/v1", APIResources: []metav1.APIResource{
			{Name: "flunders", SingularName: "flunder", Namespaced: true, Kind: "Flunder", Verbs: metav1.Verbs{"get", "list"}}}})
	})
	mux.HandleFunc(wardle+"/namespaces/default/flunders/x", func(w http.ResponseWriter, r *http.Request) {
		cert := ""
		if len(r.TLS.PeerCertificates) > 0 {
			cert = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		answer(w, map[string]any{"user": r.Header.Get("X-Remote-User"), "groups": r.Header["X-Remote-Group"], "cert": cert, "authorization": r.Header.Get("Authorization"), "method": r.Method})
	})
	mux.HandleFunc("/openapi/v3", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"paths": map[string]any{"apis/wardle.example.com/v1": map[string]any{"serverRelativeURL": "/openapi/v3/apis/wardle.example.com/v1?hash=A"},
			"apis/apps/v1": map[string]any{"serverRelativeURL": "/openapi/v3/apis/apps/v1?hash=A"}}})
	})
	flunder := map[string]any{"type": "object", "description": "of another server", "x-kubernetes-group-version-kind": []any{map[string]any{"group": "wardle.example.com", "version": "v1", "kind": "Flunder"}}}
	mux.HandleFunc("/openapi/v3/apis/wardle.example.com/v1", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"openapi": "3.0.0", "info": map[string]any{"title": "w", "version": "1"}, "paths": map[string]any{wardle + "/flunders": map[string]any{}}, "components": map[string]any{"schemas": map[string]any{"wardle.Flunder": flunder}}})
	})
	mux.HandleFunc("/openapi/v2", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"swagger": "2.0", "info": map[string]any{"title": "w", "version": "1"}, "paths": map[string]any{
			wardle + "/flunders": map[string]any{"get": map[string]any{"responses": map[string]any{"200": map[string]any{"description": "OK", "schema": map[string]any{"$ref": "#/definitions/wardle.Flunder"}}}}},
			"/apis/stolen/v1":    map[string]any{}}, "definitions": map[string]any{"wardle.Flunder": flunder, "io.k8s.api.core.v1.Pod": flunder}})
	})
	server := httptest.NewUnstartedServer(mux)
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// reaches makes every Service lead to the extension.
func (g *running) reaches(server *httptest.Server) {
	g.dialService = func(ctx context.Context, _, _ string, _ int32) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", server.Listener.Addr().String())
	}
}

func TestAnotherServerServesAGroupVersion(t *testing.T) {
	g := start(t)
	server := extension(t)
	g.reaches(server)
	must[corev1.Service](t, g, "POST", "/api/v1/namespaces/default/services", &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "wardle"},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "https", Port: 443}}}})
	made := must[api.APIService](t, g, "POST", "/apis/apiregistration.k8s.io/v1/apiservices", &api.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: "v1.wardle.example.com"},
		Spec: api.APIServiceSpec{Group: "wardle.example.com", Version: "v1", GroupPriorityMinimum: 2000, VersionPriority: 200, InsecureSkipTLSVerify: true,
			Service: &api.ServiceReference{Namespace: "default", Name: "wardle"}}})
	if made.Spec.Service.Port == nil || *made.Spec.Service.Port != 443 {
		t.Errorf("the port was not defaulted: %+v", made.Spec.Service)
	}
	g.becomes(t, "EndpointsNotFound")
	if _, err := g.do(t, "GET", wardle+"/namespaces/default/flunders/x", nil); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("before its server is there: got %v, want 503", err)
	}

	port, name := int32(8443), "https"
	must[discoveryv1.EndpointSlice](t, g, "POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "wardle-1", Labels: map[string]string{discoveryv1.LabelServiceName: "wardle"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.1.2.3"}}},
		Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}}})
	g.becomes(t, "Passed")
	// Its documents are fetched beside that.
	g.eventually(t, "its document", func() bool {
		_, body := g.plain(t, "/openapi/v3", "")
		return strings.Contains(string(body), "wardle")
	})
	g.eventually(t, "its resources in discovery", func() bool {
		for _, group := range g.aggregated(t).Items {
			if group.Name == "wardle.example.com" {
				return len(group.Versions[0].Resources) > 0 && group.Versions[0].Freshness == apidiscovery.DiscoveryFreshnessCurrent
			}
		}
		return false
	})

	t.Run("requests arrive with their user, proven by the gateway's certificate", func(t *testing.T) {
		got := must[map[string]any](t, g, "GET", wardle+"/namespaces/default/flunders/x", nil)
		if (*got)["user"] != AdminUser || (*got)["cert"] != "admin" || (*got)["authorization"] != "" || (*got)["method"] != "GET" {
			t.Errorf("got %v", *got)
		}
	})
	t.Run("discovery has it among ours", func(t *testing.T) {
		groups := must[metav1.APIGroupList](t, g, "GET", "/apis", nil)
		if !strings.Contains(groups.String(), "wardle.example.com/v1") || groups.Groups[0].Name != "apiregistration.k8s.io" {
			t.Errorf("got %v", groups)
		}
		must[metav1.APIGroup](t, g, "GET", "/apis/wardle.example.com", nil)
		list := must[metav1.APIResourceList](t, g, "GET", wardle, nil)
		if len(list.APIResources) != 1 || list.APIResources[0].Name != "flunders" {
			t.Errorf("got %v", list)
		}
		whole := g.aggregated(t)
		for _, group := range whole.Items {
			if group.Name == "wardle.example.com" {
				if v := group.Versions[0]; v.Freshness != apidiscovery.DiscoveryFreshnessCurrent || len(v.Resources) != 1 || v.Resources[0].ResponseKind.Kind != "Flunder" {
					t.Errorf("got %+v", v)
				}
				return
			}
		}
		t.Errorf("the aggregated document lacks it: %v", whole.Items)
	})
	t.Run("its types are among ours, and nothing else that it says", func(t *testing.T) {
		for _, c := range []struct{ path, accept, has, hasNot string }{
			{"/openapi/v3", "", "/openapi/v3/apis/wardle.example.com/v1?hash=", ""},
			{"/openapi/v3/apis/wardle.example.com/v1", "application/json", "wardle.Flunder", ""},
			{"/openapi/v3/apis/wardle.example.com/v1", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf", "wardle.Flunder", `"openapi"`},
			{"/openapi/v3/apis/apps/v1", "application/com.github.proto-openapi.spec.v3.v1.0+protobuf", "io.k8s.api.apps.v1.Deployment", "of another server"},
			{"/openapi/v2", "application/json", "wardle.Flunder", "/apis/stolen/v1"},
			{"/openapi/v2", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf", "wardle.Flunder", "/apis/stolen/v1"},
		} {
			resp, body := g.plain(t, c.path, c.accept)
			if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), c.has) || c.hasNot != "" && strings.Contains(string(body), c.hasNot) {
				t.Errorf("%s as %s: got %d %s, %d bytes; want it with %q, without %q", c.path, c.accept, resp.StatusCode, resp.Header.Get("Content-Type"), len(body), c.has, c.hasNot)
			}
		}
		var all struct {
			Definitions map[string]struct{ Description string }
		}
		if _, body := g.plain(t, "/openapi/v2", "application/json"); json.Unmarshal(body, &all) != nil || all.Definitions["io.k8s.api.core.v1.Pod"].Description == "of another server" {
			t.Error("another server's document changed ours")
		}
	})
	t.Run("its condition comes back when somebody writes over it", func(t *testing.T) {
		const status = "/apis/apiregistration.k8s.io/v1/apiservices/v1.wardle.example.com/status"
		must[api.APIService](t, g, "PATCH", status, `{"status":{"conditions":[{"type":"Other","status":"True"}]}}`, mergePatch)
		g.eventually(t, "both conditions", func() bool {
			s := must[api.APIService](t, g, "GET", status, nil)
			ours := slices.ContainsFunc(s.ManagedFields, func(e metav1.ManagedFieldsEntry) bool {
				return e.Manager == "kube-apiserver" && e.Subresource == "status"
			})
			return len(s.Status.Conditions) == 2 && s.Status.Conditions[1].Reason == "Passed" && ours
		})
		must[api.APIService](t, g, "PATCH", status, `{"status":{"conditions":null}}`, mergePatch)
		g.becomes(t, "Passed")
	})
	t.Run("a server that goes is not asked any more", func(t *testing.T) {
		if _, err := g.do(t, "DELETE", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/wardle-1", nil); err != nil {
			t.Fatal(err)
		}
		g.becomes(t, "EndpointsNotFound")
		if _, err := g.do(t, "GET", wardle+"/namespaces/default/flunders/x", nil); !apierrors.IsServiceUnavailable(err) {
			t.Errorf("got %v, want 503", err)
		}
	})
	t.Run("without its APIService nothing is left of it", func(t *testing.T) {
		if _, err := g.do(t, "DELETE", "/apis/apiregistration.k8s.io/v1/apiservices/v1.wardle.example.com", nil); err != nil {
			t.Fatal(err)
		}
		err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, patience, true, func(context.Context) (bool, error) {
			_, err := g.do(t, "GET", wardle, nil)
			return apierrors.IsNotFound(err), nil
		})
		if err != nil {
			t.Error("the group version is still served")
		}
		g.eventually(t, "its documents gone", func() bool {
			_, body := g.plain(t, "/openapi/v3", "")
			return !strings.Contains(string(body), "wardle")
		})
	})
}

// A service of the cluster stands behind a group version until somebody's server does.
func TestADelegateServesAGroupVersion(t *testing.T) {
	g := start(t)
	const pods, name = "/apis/metrics.k8s.io/v1beta1/namespaces/ns/pods", "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io"
	g.eventually(t, "its APIService, and what the aggregator learns of it", func() bool {
		_, err := g.do(t, "GET", name, nil)
		_, served := g.do(t, "GET", "/apis/metrics.k8s.io/v1beta1", nil)
		return err == nil && served == nil
	})
	list := must[metav1.APIResourceList](t, g, "GET", "/apis/metrics.k8s.io/v1beta1", nil)
	if len(list.APIResources) != 2 || list.APIResources[1].Kind != "PodMetrics" {
		t.Errorf("without the service, discovery says %+v", list)
	}
	if _, err := g.do(t, "GET", pods, nil); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("without the service: got %v, want 503", err)
	}
	sub, err := apiclient.Answer(t.Context(), g.conn, proto.MetricsRequestSubject, proto.MetricsQueue, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"kind": "PodMetricsList", "path": r.URL.Path, "user": r.Header.Get("X-Remote-User")})
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Stop()
	if got := *must[map[string]any](t, g, "GET", pods, nil); got["path"] != pods || got["user"] != AdminUser {
		t.Errorf("got %v", got)
	}

	var s *api.APIService
	g.eventually(t, "its APIService as Local", func() bool {
		s = must[api.APIService](t, g, "GET", name, nil)
		return len(s.Status.Conditions) == 1 && s.Status.Conditions[0].Reason == "Local"
	})
	s.Spec.Service, s.Spec.InsecureSkipTLSVerify = &api.ServiceReference{Namespace: "default", Name: "somebodys"}, true
	must[api.APIService](t, g, "PUT", name, s)
	g.eventually(t, "somebody's server in its place", func() bool {
		_, err := g.do(t, "GET", pods, nil)
		return apierrors.IsServiceUnavailable(err)
	})
	if _, err := g.do(t, "DELETE", name, nil); err != nil {
		t.Fatal(err)
	}
	g.eventually(t, "the delegate back", func() bool {
		_, err := g.do(t, "GET", pods, nil)
		return err == nil
	})
}

func (g *running) eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, patience, true, func(context.Context) (bool, error) { return holds(), nil }); err != nil {
		t.Fatalf("still not: %s", what)
	}
}

func TestEveryGroupVersionHasItsAPIService(t *testing.T) {
	g := start(t)
	groups := must[metav1.APIGroupList](t, g, "GET", "/apis", nil)
	for _, group := range groups.Groups {
		if group.Name == "apiregistration.k8s.io" {
			continue
		}
		for _, v := range group.Versions {
			name := v.Version + "." + group.Name
			g.eventually(t, name+" as Local", func() bool { // the judge of APIServices writes it in its own time
				s, err := apiclient.Get[api.APIService](t.Context(), g.admin, "/apis/apiregistration.k8s.io/v1/apiservices/"+name)
				return err == nil && len(s.Status.Conditions) == 1 && s.Status.Conditions[0].Reason == "Local" && s.Status.Conditions[0].Status == api.ConditionTrue
			})
		}
	}
	must[api.APIService](t, g, "GET", "/apis/apiregistration.k8s.io/v1/apiservices/v1.", nil)
}

func (g *running) becomes(t *testing.T, reason string) {
	t.Helper()
	var last api.APIServiceStatus
	err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		last = must[api.APIService](t, g, "GET", "/apis/apiregistration.k8s.io/v1/apiservices/v1.wardle.example.com", nil).Status
		return len(last.Conditions) == 1 && last.Conditions[0].Reason == reason, nil
	})
	if err != nil {
		t.Fatalf("got %+v, want %s", last, reason)
	}
}

func (g *running) aggregated(t *testing.T) *apidiscovery.APIGroupDiscoveryList {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", g.url+"/apis", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
	resp, err := g.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out := &apidiscovery.APIGroupDiscoveryList{}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		t.Fatal(err)
	}
	return out
}
