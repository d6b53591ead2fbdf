package gateway

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bustest"
)

func TestAWatchGoesOnInAGatewayThatStartsLater(t *testing.T) {
	server := bustest.Server(t)
	one := startOver(t, server)
	versions := make([]string, 3)
	versions[0] = must[corev1.ConfigMap](t, one, "POST", configMaps, configMap("busy")).ResourceVersion
	for i := 1; i < len(versions); i++ {
		versions[i] = must[corev1.ConfigMap](t, one, "PATCH", configMaps+"/busy", fmt.Sprintf(`{"data":{"n":"%d"}}`, i), mergePatch).ResourceVersion
	}
	two := startOver(t, server)
	for after, begins := range map[string]string{
		versions[2]: "",
		versions[1]: `{"type":"MODIFIED","object":{"kind":"ConfigMap"`,
		versions[0]: `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1"`, // the log has not kept what came next
	} {
		w := httptest.NewRecorder()
		two.ServeAs(AdminUser, w, httptest.NewRequest("GET", configMaps+"?watch=1&timeoutSeconds=1&resourceVersion="+after, nil))
		got := w.Body.String()
		if !strings.HasPrefix(got, begins) || (begins == "") != (got == "") || after == versions[0] && !strings.Contains(got, `"code":410`) {
			t.Errorf("from %s of %v: got %q, want %s", after, versions, got, begins)
		}
	}
}

// Whatever gateway a request meets, it sees what was acknowledged by another.
func TestSeveralGatewaysAreOne(t *testing.T) {
	server := bustest.Server(t)
	one, two := startOver(t, server), startOver(t, server)
	t.Run("what one acknowledged, the other has", func(t *testing.T) {
		for i := range 50 {
			path := fmt.Sprintf("%s/c-%d", configMaps, i)
			must[corev1.ConfigMap](t, one, "POST", configMaps, configMap(fmt.Sprintf("c-%d", i)))
			must[corev1.ConfigMap](t, two, "PATCH", path, `{"data":{"b":"2"}}`, "application/merge-patch+json")
			if got := must[corev1.ConfigMap](t, one, "GET", path, nil); got.Data["b"] != "2" {
				t.Fatalf("%s: got %v", path, got.Data)
			}
			must[corev1.ConfigMap](t, one, "DELETE", path, nil)
			must[corev1.ConfigMap](t, two, "POST", configMaps, configMap(fmt.Sprintf("c-%d", i)))
			namespace := fmt.Sprintf("n-%d", i)
			must[corev1.Namespace](t, one, "POST", "/api/v1/namespaces", &corev1.Namespace{ObjectMeta: configMap(namespace).ObjectMeta})
			must[corev1.ConfigMap](t, two, "POST", "/api/v1/namespaces/"+namespace+"/configmaps", configMap("x"))
		}
	})
	t.Run("no address or port has two owners", func(t *testing.T) {
		const creators = 64
		var wait sync.WaitGroup
		created := make([]*corev1.Service, creators)
		for i := range creators {
			g := []*running{one, two}[i%2]
			wait.Go(func() {
				s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("s-%d", i)}, Spec: corev1.ServiceSpec{
					Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal, Ports: []corev1.ServicePort{{Port: 80}}}}
				got, err := apiclient.Create[corev1.Service](t.Context(), g.admin, "/api/v1/namespaces/default/services", s)
				if err != nil {
					t.Error(err)
					return
				}
				created[i] = got
			})
		}
		wait.Wait()
		owners := map[string]string{}
		owned := func(what, name string) {
			if other, taken := owners[what]; taken {
				t.Errorf("%s belongs to %s and %s", what, other, name)
			}
			owners[what] = name
		}
		for _, s := range created {
			if s != nil {
				owned(s.Spec.ClusterIP, s.Name)
				owned(fmt.Sprint(s.Spec.Ports[0].NodePort), s.Name)
				owned(fmt.Sprint(s.Spec.HealthCheckNodePort), s.Name)
			}
		}
		if len(owners) != 3*creators {
			t.Errorf("got %d addresses and ports, want %d", len(owners), 3*creators)
		}
	})
	t.Run("no increment is lost between them", func(t *testing.T) {
		must[corev1.ConfigMap](t, one, "POST", configMaps, configMap("count"))
		const each = 25
		var wait sync.WaitGroup
		for worker := range 4 {
			g := []*running{one, two}[worker%2]
			wait.Go(func() {
				for i := range each {
					key := fmt.Sprintf("w%d-%d", worker, i)
					_, err := apiclient.Patch[corev1.ConfigMap](t.Context(), g.admin, configMaps+"/count", "application/merge-patch+json", map[string]any{"data": map[string]string{key: "x"}})
					if err != nil {
						t.Errorf("%s: %v", key, err)
					}
				}
			})
		}
		wait.Wait()
		if got := must[corev1.ConfigMap](t, two, "GET", configMaps+"/count", nil); len(got.Data) != 4*each+1 {
			t.Errorf("got %d keys, want %d", len(got.Data), 4*each+1)
		}
	})
}
