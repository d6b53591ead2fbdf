// Package health serves spec.healthCheckNodePort: load balancers ask there
// whether this node has endpoints of a Service with externalTrafficPolicy Local.
// The answers have the form of kube-proxy's.
package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"kubus.dev/services/proxy/internal/service"
)

// Check is one Service's port and the endpoints it speaks for.
type Check struct {
	Service   service.Name
	Endpoints int
}

// Server holds one listener a health-check port. The zero value is not usable;
// Close it. Its methods may be called at the same time.
type Server struct {
	log    *zap.Logger
	listen net.ListenConfig

	mu    sync.Mutex
	ports map[uint16]*listener
}

type listener struct {
	http *http.Server

	mu    sync.Mutex
	check Check
}

// NewServer gives one without ports.
func NewServer(logger *zap.Logger) *Server {
	return &Server{log: logger, ports: map[uint16]*listener{}}
}

// Set opens, updates and closes ports so that exactly checks are served. A port
// that cannot be opened is reported and tried again at the next Set.
func (s *Server) Set(ctx context.Context, checks map[uint16]Check) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for port, l := range s.ports {
		if _, ok := checks[port]; !ok {
			_ = l.http.Close()
			delete(s.ports, port)
		}
	}
	var failed []error
	for port, check := range checks {
		if l := s.ports[port]; l != nil {
			l.set(check)
			continue
		}
		l, err := s.open(ctx, port, check)
		if err != nil {
			failed = append(failed, fmt.Errorf("health check port %d of %s: %w", port, check.Service, err))
			continue
		}
		s.ports[port] = l
	}
	return errors.Join(failed...)
}

// Close closes all ports.
func (s *Server) Close() {
	_ = s.Set(context.Background(), nil)
}

func (s *Server) open(ctx context.Context, port uint16, check Check) (*listener, error) {
	socket, err := s.listen.Listen(ctx, "tcp4", net.JoinHostPort("", strconv.Itoa(int(port))))
	if err != nil {
		return nil, err
	}
	l := &listener{check: check}
	l.http = &http.Server{Handler: l, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	go func() { // ends when Close or Set closes the server
		if err := l.http.Serve(socket); !errors.Is(err, http.ErrServerClosed) {
			s.log.Warn("health check port ended", zap.Uint16("port", port), zap.Error(err))
		}
	}()
	return l, nil
}

func (l *listener) set(check Check) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.check = check
}

// ServeHTTP answers 200 with endpoints, 503 without.
func (l *listener) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	l.mu.Lock()
	check := l.check
	l.mu.Unlock()
	type name struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	}
	body, err := json.Marshal(struct {
		Service             name `json:"service"`
		LocalEndpoints      int  `json:"localEndpoints"`
		ServiceProxyHealthy bool `json:"serviceProxyHealthy"`
	}{name(check.Service), check.Endpoints, true})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(check.Endpoints))
	if check.Endpoints == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write(body)
}
