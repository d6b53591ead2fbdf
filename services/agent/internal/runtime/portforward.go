package runtime

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"kubus.dev/services/kit/netns"
)

var loopback = []string{"127.0.0.1", "::1"}

// PortForward implements Runtime.
func (n *Node) PortForward(ctx context.Context, sandboxID string, addresses []string, port uint16, conn io.ReadWriteCloser) error {
	defer conn.Close()
	s, err := n.sandbox(sandboxID)
	if err != nil {
		return err
	}
	host := "localhost"
	if len(addresses) > 0 {
		host = addresses[0]
	} else {
		addresses = loopback
	}
	target, err := s.dialPod(ctx, addresses, port)
	if err != nil {
		return fmt.Errorf("failed to connect to %s:%d inside namespace %q: %w", host, port, sandboxID, err)
	}
	defer target.Close()
	stop := context.AfterFunc(ctx, func() { target.Close(); conn.Close() })
	defer stop()
	in := make(chan error, 1)
	go func() { // ends with either side
		_, err := io.Copy(target, conn)
		_ = target.CloseWrite()
		in <- err
	}()
	_, err = io.Copy(conn, target)
	conn.Close()
	<-in
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (s *sandbox) dialPod(ctx context.Context, addresses []string, port uint16) (*net.TCPConn, error) {
	var conn net.Conn
	dial := func() (err error) {
		dialer := net.Dialer{Timeout: 10 * time.Second}
		for _, address := range addresses {
			// One address and no names: the socket is made on this thread.
			if conn, err = dialer.DialContext(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(int(port)))); err == nil {
				return nil
			}
		}
		return err
	}
	err := error(nil)
	if s.record.Spec.HostNetwork {
		err = dial()
	} else {
		err = netns.In(dial, s.nsPath("net"))
	}
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, os.ErrInvalid
	}
	return tcp, nil
}
