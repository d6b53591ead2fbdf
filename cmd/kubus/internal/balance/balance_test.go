package balance

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"testing"

	"go.uber.org/zap"
)

// backend answers each line with its name and the line, and ends when the client has said all.
func backend(t *testing.T, name string) net.Listener {
	t.Helper()
	l := listen(t)
	go func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				lines := bufio.NewScanner(conn)
				for lines.Scan() {
					fmt.Fprintf(conn, "%s %s\n", name, lines.Text())
				}
				fmt.Fprintln(conn, "end")
			}()
		}
	}()
	return l
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func start(t *testing.T, backends ...net.Listener) (address string, stop context.CancelFunc, done <-chan error) {
	t.Helper()
	var addresses []string
	for _, l := range backends {
		addresses = append(addresses, l.Addr().String())
	}
	b, err := New(zap.NewNop(), addresses...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	front, ended := listen(t), make(chan error, 1)
	go func() { ended <- b.Serve(ctx, front) }()
	t.Cleanup(cancel)
	return front.Addr().String(), cancel, ended
}

// ask says one line, then that it has said all, and gives everything that it hears.
func ask(t *testing.T, address string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintln(conn, "hello")
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	heard, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(heard)
}

func TestConnectionsGoToAllInTurn(t *testing.T) {
	t.Parallel()
	address, _, _ := start(t, backend(t, "a"), backend(t, "b"))
	heard := map[string]int{}
	for range 6 {
		heard[ask(t, address)]++
	}
	if heard["a hello\nend\n"] != 3 || heard["b hello\nend\n"] != 3 {
		t.Errorf("six connections heard %v", heard)
	}
}

func TestWhoTakesNoConnectionIsPassedOver(t *testing.T) {
	t.Parallel()
	gone := backend(t, "gone")
	address, _, _ := start(t, gone, backend(t, "b"))
	_ = gone.Close()
	for range 4 {
		if got := ask(t, address); got != "b hello\nend\n" {
			t.Errorf("heard %q", got)
		}
	}
}

func TestAConnectionEndsWhenNobodyTakesIt(t *testing.T) {
	t.Parallel()
	gone := backend(t, "gone")
	address, _, _ := start(t, gone)
	_ = gone.Close()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("heard %d bytes of nobody", n)
	}
}

func TestItsEndEndsItsConnections(t *testing.T) {
	t.Parallel()
	address, stop, done := start(t, backend(t, "a"))
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintln(conn, "hello")
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "a hello\n" {
		t.Fatalf("heard %q, %v", line, err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	_, _ = io.ReadAll(conn) // returns, by an end or a reset
}

func TestABackendIsHostAndPort(t *testing.T) {
	t.Parallel()
	for _, backends := range [][]string{nil, {"gateway"}, {"a:1", "b"}} {
		if _, err := New(zap.NewNop(), backends...); err == nil {
			t.Errorf("%v are taken", backends)
		}
	}
}
