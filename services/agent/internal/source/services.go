package source

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/agent/internal/launch"
)

// Services knows the cluster's Services as far as containers' variables need. What
// it knows is kept on disk, for containers that start while the cluster is away.
type Services struct {
	store  *Store
	log    *zap.Logger
	synced chan struct{}

	mu    sync.Mutex
	byNS  map[string]map[string]service
	kept  bool        // byNS is what a former run knew, or more
	save  *time.Timer // a save that is due; nil when none is
	ended bool
}

type service struct {
	ClusterIP string               `json:"clusterIP"`
	Ports     []corev1.ServicePort `json:"ports"`
}

const (
	// awayAfter is how long a container waits for the cluster's Services before
	// it is given those of a former run.
	awayAfter = 2 * time.Second
	saveAfter = time.Second // changes that come together are saved together
)

// NewServices knows what a former run kept, and waits for Follow.
func NewServices(store *Store, log *zap.Logger) *Services {
	s := &Services{store: store, log: log, synced: make(chan struct{}), byNS: map[string]map[string]service{}}
	s.kept = load(s.file(), &s.byNS) == nil && s.byNS != nil
	if s.byNS == nil {
		s.byNS = map[string]map[string]service{}
	}
	return s
}

func (s *Services) file() string { return filepath.Join(s.store.dir, "services.json") }

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
	first := map[string]map[string]service{}
	into := &first // the first list replaces what was kept, all at once
	defer s.finish()
	return apiclient.ListWatch(ctx, api, "/api/v1/services", nil, func(old, new *slim) {
		s.mu.Lock()
		defer s.mu.Unlock()
		apply(*into, old, new)
		if into == &s.byNS {
			s.saveSoon()
		}
	}, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.byNS = first
		into = &s.byNS
		s.saveSoon()
		close(s.synced)
	})
}

func apply(byNS map[string]map[string]service, old, new *slim) {
	if new == nil {
		delete(byNS[old.Metadata.Namespace], old.Metadata.Name)
		return
	}
	ns := byNS[new.Metadata.Namespace]
	if ns == nil {
		ns = map[string]service{}
		byNS[new.Metadata.Namespace] = ns
	}
	if ip := new.Spec.ClusterIP; ip == "" || ip == corev1.ClusterIPNone {
		delete(ns, new.Metadata.Name)
	} else {
		ns[new.Metadata.Name] = service{ip, new.Spec.Ports}
	}
}

// saveSoon writes what is known in a moment; the lock is held.
func (s *Services) saveSoon() {
	if s.save != nil || s.ended {
		return
	}
	s.save = time.AfterFunc(saveAfter, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.save != nil {
			s.write()
		}
	})
}

func (s *Services) write() {
	s.save = nil
	if err := s.store.save(s.file(), s.byNS); err != nil {
		s.log.Warn("Services not kept on disk", zap.Error(err))
	}
}

// finish saves what is due.
func (s *Services) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.save != nil {
		s.save.Stop()
		s.write()
	}
}

// The Service that every container is told of.
const masterNamespace, masterName = "default", "kubernetes"

// Variables gives the service variables for containers of a namespace. Before the
// Services are known it waits for them; while the cluster is away, those of a
// former run must do.
func (s *Services) Variables(ctx context.Context, namespace string, links bool) (map[string]string, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]string{}
	if m, ok := s.byNS[masterNamespace][masterName]; ok {
		launch.ServiceVariables(masterName, m.ClusterIP, m.Ports, out)
	}
	if links {
		for name, v := range s.byNS[namespace] {
			launch.ServiceVariables(name, v.ClusterIP, v.Ports, out)
		}
	}
	return out, nil
}

func (s *Services) wait(ctx context.Context) error {
	select {
	case <-s.synced:
		return nil
	default:
	}
	s.mu.Lock()
	kept := s.kept
	s.mu.Unlock()
	var away <-chan time.Time
	if kept {
		t := time.NewTimer(awayAfter)
		defer t.Stop()
		away = t.C
	}
	select {
	case <-s.synced:
	case <-away:
	case <-ctx.Done():
		return errors.New("services have not yet been read at least once, cannot construct envvars")
	}
	return nil
}
