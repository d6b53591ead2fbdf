package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Server is a running embedded server.
type Server struct {
	srv *server.Server
	log *serverLog
}

// Start runs a server and returns when it takes connections. Opening large
// streams takes as long as it takes: there is no time limit but ctx.
func Start(ctx context.Context, o Options) (*Server, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if len(o.Users) > 0 {
		if err := Migrate(o.Dir); err != nil {
			return nil, err
		}
	}
	native, err := o.native()
	if err != nil {
		return nil, err
	}
	srv, err := server.NewServer(native)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	s := &Server{srv: srv, log: newServerLog(o.Logger)}
	srv.SetLoggerV2(s.log, false, false, false)
	started := make(chan struct{})
	go func() { // ends with Start; waited for below
		defer close(started)
		srv.Start()
	}()
	select {
	case <-started:
	case <-ctx.Done():
		srv.Shutdown()
		<-started
		return nil, fmt.Errorf("store: starting: %w", context.Cause(ctx))
	}
	if err := s.ready(); err != nil {
		s.Shutdown()
		return nil, fmt.Errorf("store: starting: %w", err)
	}
	return s, nil
}

func (s *Server) ready() error {
	if message := s.log.fatal(); message != "" {
		return errors.New(message)
	}
	if !s.srv.ReadyForConnections(5 * time.Second) {
		return errors.New("the server takes no connections")
	}
	if !s.srv.JetStreamEnabled() {
		return errors.New("JetStream is not enabled")
	}
	return nil
}

// InProcessConn opens a connection that passes no socket.
func (s *Server) InProcessConn() (net.Conn, error) { return s.srv.InProcessConn() }

// ClientURL is where other processes connect; empty when none may.
func (s *Server) ClientURL() string {
	if s.srv.Addr() == nil {
		return ""
	}
	return s.srv.ClientURL()
}

// Version is that of the server's code.
func (s *Server) Version() string { return server.VERSION }

// Healthy tells why the server cannot store: nil when it can.
func (s *Server) Healthy() error {
	if message := s.log.fatal(); message != "" {
		return fmt.Errorf("store: %s", message)
	}
	if !s.srv.JetStreamEnabled() {
		return errors.New("store: JetStream was shut down")
	}
	return nil
}

// Shutdown writes what is in hand and waits for the end. It may be called twice.
func (s *Server) Shutdown() {
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
}
