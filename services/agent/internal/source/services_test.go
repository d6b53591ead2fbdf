package source

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"kubus.dev/proto/bustest/apitest"
)

func serviceOf(ip string) *corev1.Service {
	return &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}}}
}

// hosts lists the …_SERVICE_HOST variables, sorted.
func hosts(t *testing.T, s *Services, namespace string, links bool) string {
	t.Helper()
	all, err := s.Variables(t.Context(), namespace, links)
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if name, ok := strings.CutSuffix(key, "_SERVICE_HOST"); ok {
			out = append(out, name+"="+all[key])
		}
	}
	return strings.Join(out, " ")
}

func follow(t *testing.T, s *Services, api *apitest.API) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Follow(ctx, api.Client("system:node:n"))
	}()
	return func() {
		cancel()
		<-done
	}
}

func TestVariablesAreOfTheNamespacesServicesAndOfTheAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := apitest.New()
		api.Put("/api/v1/namespaces/default/services/kubernetes", serviceOf("10.0.0.1"))
		api.Put("/api/v1/namespaces/default/services/other", serviceOf("10.0.0.2"))
		api.Put("/api/v1/namespaces/ns/services/web", serviceOf("10.0.0.3"))
		api.Put("/api/v1/namespaces/ns/services/headless", serviceOf("None"))
		s := NewServices(open(t), zap.NewNop())
		stop := follow(t, s, api)
		defer stop()
		for _, c := range []struct {
			namespace string
			links     bool
			want      string
		}{
			{"ns", true, "KUBERNETES=10.0.0.1 WEB=10.0.0.3"},
			{"ns", false, "KUBERNETES=10.0.0.1"},
			{"default", true, "KUBERNETES=10.0.0.1 OTHER=10.0.0.2"},
			{"empty", true, "KUBERNETES=10.0.0.1"},
		} {
			if got := hosts(t, s, c.namespace, c.links); got != c.want {
				t.Errorf("in %s, links %v: got %s, want %s", c.namespace, c.links, got, c.want)
			}
		}
		api.Delete("/api/v1/namespaces/ns/services/web")
		api.Put("/api/v1/namespaces/ns/services/new", serviceOf("10.0.0.4"))
		synctest.Wait()
		if got, want := hosts(t, s, "ns", true), "KUBERNETES=10.0.0.1 NEW=10.0.0.4"; got != want {
			t.Errorf("after changes: got %s, want %s", got, want)
		}
	})
}

func TestAContainerWaitsForTheServicesUnlessAFormerRunKnewThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, store := apitest.New(), open(t)
		api.Away(true)
		first := NewServices(store, zap.NewNop())
		stop := follow(t, first, api)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		if _, err := first.Variables(ctx, "ns", true); err == nil || !strings.Contains(err.Error(), "services have not yet been read at least once") {
			t.Errorf("without any knowledge: %v", err)
		}
		cancel()
		api.Put("/api/v1/namespaces/ns/services/web", serviceOf("10.0.0.3"))
		api.Away(false)
		if got := hosts(t, first, "ns", true); got != "WEB=10.0.0.3" {
			t.Errorf("when the API is there: %s", got)
		}
		stop()

		api.Away(true)
		second := NewServices(store, zap.NewNop())
		defer follow(t, second, api)()
		began := time.Now()
		if got := hosts(t, second, "ns", true); got != "WEB=10.0.0.3" || time.Since(began) != awayAfter {
			t.Errorf("from a former run, after %s: %s", time.Since(began), got)
		}
	})
}
