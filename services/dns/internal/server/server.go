package server

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"kubus.dev/services/dns/internal/wire"
)

// The bounds on what clients may hold at once.
const (
	mostSlow        = 512 // UDP questions that wait for another server
	mostConnections = 256
	idle            = 10 * time.Second // of a TCP connection
	queryTimeout    = 5 * time.Second
)

// Counts is told of each answer; calls come from many goroutines.
type Counts interface {
	Answered(tcp bool, code int)
	Dropped(tcp bool)
	Stranger(tcp bool)
}

// Gate tells whom the server answers.
type Gate interface{ Allow(netip.Addr) bool }

// Server has a UDP and a TCP socket of one address.
type Server struct {
	handler *Handler
	gate    Gate
	counts  Counts
	log     *zap.Logger
	udp     *net.UDPConn
	tcp     net.Listener
	slow    chan struct{}
}

// Listen takes the address. It need not exist yet: a bridge may come later. No
// packet is read before Serve.
func Listen(ctx context.Context, address string, h *Handler, gate Gate, counts Counts, logger *zap.Logger) (*Server, error) {
	lc := net.ListenConfig{Control: freebind}
	packet, err := lc.ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, fmt.Errorf("listening for DNS: %w", err)
	}
	udp, ok := packet.(*net.UDPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("listening on %s: not a UDP socket", address), packet.Close())
	}
	// Port 0 means any: TCP then takes the one that UDP got.
	tcp, err := lc.Listen(ctx, "tcp", udp.LocalAddr().String())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listening for DNS: %w", err), udp.Close())
	}
	return &Server{handler: h, gate: gate, counts: counts, log: logger, udp: udp, tcp: tcp, slow: make(chan struct{}, mostSlow)}, nil
}

func freebind(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1)
	})
	return errors.Join(err, failed)
}

// Addr is where the server listens, for both.
func (s *Server) Addr() netip.AddrPort {
	if a, ok := s.udp.LocalAddr().(*net.UDPAddr); ok {
		return a.AddrPort()
	}
	return netip.AddrPort{}
}

// Close frees the address of a server that Serve was not called on.
func (s *Server) Close() error { return errors.Join(s.udp.Close(), s.tcp.Close()) }

// Serve answers until ctx ends, then frees the address.
func (s *Server) Serve(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		<-ctx.Done()
		return s.Close()
	})
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error { return s.serveUDP(ctx) })
	}
	group.Go(func() error { return s.serveTCP(ctx) })
	if err := group.Wait(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// serveUDP is one of several loops over the same socket. It allocates nothing
// for a question about the cluster.
func (s *Server) serveUDP(ctx context.Context) error {
	in, out := make([]byte, wire.TCPSize), make([]byte, 0, wire.EDNSSize)
	var q wire.Query
	for {
		n, from, err := s.udp.ReadFromUDPAddrPort(in)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			continue // an ICMP error of an earlier answer
		}
		if !s.gate.Allow(from.Addr()) {
			s.counts.Stranger(false)
			continue
		}
		answer, slow := s.handler.Respond(out[:0], in[:n], &q, 0)
		switch {
		case slow:
			s.later(ctx, append([]byte(nil), in[:n]...), from)
		case answer == nil:
			s.counts.Dropped(false)
		default:
			s.send(answer, from)
		}
	}
}

func (s *Server) send(answer []byte, to netip.AddrPort) {
	if _, err := s.udp.WriteToUDPAddrPort(answer, to); err == nil {
		s.counts.Answered(false, int(answer[3]&15))
	}
}

// later answers a question that needs another server. When too many wait, it
// fails at once: the client asks again or elsewhere.
func (s *Server) later(ctx context.Context, packet []byte, from netip.AddrPort) {
	select {
	case s.slow <- struct{}{}:
	default:
		var q wire.Query
		wire.Parse(packet, &q)
		s.send(wire.Fail(nil, &q, wire.ServerFailure, true), from)
		return
	}
	go func() { // bounded by s.slow and by the timeout
		defer func() { <-s.slow }()
		ctx, cancel := context.WithTimeout(ctx, queryTimeout)
		defer cancel()
		if answer := s.handler.Recurse(ctx, packet, 0); answer != nil {
			s.send(answer, from)
		}
	}()
}

func (s *Server) serveTCP(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(mostConnections)
	for {
		c, err := s.tcp.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return errors.Join(err, group.Wait())
			}
			s.log.Warn("accepting a connection", zap.Error(err))
			continue
		}
		if from, ok := c.RemoteAddr().(*net.TCPAddr); !ok || !s.gate.Allow(from.AddrPort().Addr()) {
			s.counts.Stranger(true)
			_ = c.Close()
			continue
		}
		if !group.TryGo(func() error { s.serveConn(ctx, c); return nil }) {
			s.counts.Dropped(true)
			_ = c.Close()
		}
	}
}

// serveConn answers one question after another, until the client is idle.
func (s *Server) serveConn(ctx context.Context, c net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	defer c.Close()
	var q wire.Query
	packet, out := make([]byte, 0, 512), make([]byte, 0, 1024)
	for {
		if c.SetDeadline(time.Now().Add(idle)) != nil {
			return
		}
		var length [2]byte
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return
		}
		packet = append(packet[:0], make([]byte, binary.BigEndian.Uint16(length[:]))...)
		if _, err := io.ReadFull(c, packet); err != nil {
			return
		}
		out = append(out[:0], 0, 0)
		answer, slow := s.handler.Respond(out, packet, &q, wire.TCPSize)
		if slow {
			late, cancel := context.WithTimeout(ctx, queryTimeout)
			answer = append(out, s.handler.Recurse(late, packet, wire.TCPSize)...)
			cancel()
		}
		if len(answer) <= len(out) {
			s.counts.Dropped(true)
			return
		}
		binary.BigEndian.PutUint16(answer, uint16(len(answer)-2))
		if _, err := c.Write(answer); err != nil {
			return
		}
		s.counts.Answered(true, int(answer[5]&15))
		out = answer[:0]
	}
}
