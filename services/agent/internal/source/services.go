package source

import (
	"context"
	"errors"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/agent/internal/launch"
)

// Services knows the cluster's Services as far as containers' variables need.
type Services struct {
	synced chan struct{}

	mu   sync.Mutex
	byNS map[string]map[string]service
}

type service struct {
	clusterIP string
	ports     []corev1.ServicePort
}

// NewServices knows none until Follow runs.
func NewServices() *Services {
	return &Services{synced: make(chan struct{}), byNS: map[string]map[string]service{}}
}

// slim is what is decoded of a Service.
type slim struct {
	Metadata struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		ClusterIP string               `json:"clusterIP"`
		Ports     []corev1.ServicePort `json:"ports"`
	} `json:"spec"`
}

// Follow watches until ctx ends.
func (s *Services) Follow(ctx context.Context, api *apiclient.Client) error {
	return apiclient.ListWatch(ctx, api, "/api/v1/services", nil, func(old, new *slim) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if new == nil {
			delete(s.byNS[old.Metadata.Namespace], old.Metadata.Name)
			return
		}
		ns := s.byNS[new.Metadata.Namespace]
		if ns == nil {
			ns = map[string]service{}
			s.byNS[new.Metadata.Namespace] = ns
		}
		if ip := new.Spec.ClusterIP; ip == "" || ip == corev1.ClusterIPNone {
			delete(ns, new.Metadata.Name)
		} else {
			ns[new.Metadata.Name] = service{ip, new.Spec.Ports}
		}
	}, func() { close(s.synced) })
}

// The Service that every container is told of.
const masterNamespace, masterName = "default", "kubernetes"

// Variables gives the service variables for containers of a namespace. Before the
// Services are known it waits until ctx ends.
func (s *Services) Variables(ctx context.Context, namespace string, links bool) (map[string]string, error) {
	select {
	case <-s.synced:
	case <-ctx.Done():
		return nil, errors.New("services have not yet been read at least once, cannot construct envvars")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]string{}
	if m, ok := s.byNS[masterNamespace][masterName]; ok {
		launch.ServiceVariables(masterName, m.clusterIP, m.ports, out)
	}
	if links {
		for name, v := range s.byNS[namespace] {
			launch.ServiceVariables(name, v.clusterIP, v.ports, out)
		}
	}
	return out, nil
}
