package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// hold takes a socket that keeps the port until it is closed; the error is that of who cannot listen there.
func (p PortMapping) hold(ctx context.Context) (io.Closer, error) {
	host := netip.IPv4Unspecified()
	if p.HostIP != "" {
		var err error
		if host, err = netip.ParseAddr(p.HostIP); err != nil || !host.Is4() {
			return nil, fmt.Errorf("hostIP %q is no IPv4 address, the only family there is so far", p.HostIP)
		}
	}
	at := net.JoinHostPort(host.String(), strconv.Itoa(int(p.HostPort)))
	config := net.ListenConfig{Control: freebind}
	switch p.Protocol {
	case "tcp":
		return config.Listen(ctx, "tcp4", at)
	case "udp":
		return config.ListenPacket(ctx, "udp4", at)
	case "sctp":
		return holdSCTP(host, p.HostPort)
	}
	return nil, fmt.Errorf("protocol %q is not supported", p.Protocol)
}

// freebind lets an address be taken that the node has not, or not yet.
func freebind(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1)
	})
	return errors.Join(err, failed)
}

// nobody holds a port of a protocol that the kernel does not speak.
type nobody struct{}

func (nobody) Close() error { return nil }

func holdSCTP(host netip.Addr, port uint16) (io.Closer, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ESOCKTNOSUPPORT) {
		return nobody{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listen sctp: %w", err)
	}
	err = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: int(port), Addr: host.As4()})
	}
	if err == nil {
		err = unix.Listen(fd, 1)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen sctp %s:%d: %w", host, port, err)
	}
	return os.NewFile(uintptr(fd), "sctp"), nil
}
