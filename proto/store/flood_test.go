package store

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"kubus.dev/proto"
)

// A node that asks and does not read what it is answered loses its own connection: not that
// of the gateway, which answers, nor another node's, which goes on being answered.
func TestWhoDoesNotReadLosesItsOwnConnection(t *testing.T) {
	creds, users := credentials(t)
	srv, err := Start(t.Context(), Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", Users: users, Logger: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Shutdown()
	as := func(name string) *client {
		for _, c := range creds {
			if c.name == name {
				return dial(t, strings.TrimPrefix(srv.ClientURL(), "nats://"), c.seed)
			}
		}
		t.Fatalf("there is no %s", name)
		return nil
	}
	bad, good, gateway := as("agent@node-1"), as("agent@node-2"), as("gateway")
	gateway.subscribe(proto.APISubjects)
	ended := make(chan error, 1)
	const large = 1 << 20
	go func() {
		ended <- answer(gateway.conn, gateway.in, proto.APIRequestSubject(proto.NodeUser("node-1")), large)
	}()
	ask := func(when string) {
		t.Helper()
		if got := good.request(proto.InboxPrefix(proto.AgentName("node-2")), proto.APIRequestSubject(proto.NodeUser("node-2")), "x"); got != "answer" {
			t.Fatalf("%s the other node is answered %q", when, got)
		}
	}
	ask("before")
	inbox := proto.InboxPrefix(proto.AgentName("node-1")) + ".flood"
	bad.subscribe(inbox)
	const asked = 400 // far more than the server keeps for a connection
	for range asked {
		if _, err := fmt.Fprintf(bad.conn, "PUB %s %s 1\r\nx\r\n", proto.APIRequestSubject(proto.NodeUser("node-1")), inbox); err != nil {
			break // cut off already
		}
	}
	for range 20 {
		ask("meanwhile")
	}
	_ = bad.conn.SetDeadline(time.Now().Add(60 * time.Second))
	n, err := io.Copy(io.Discard, bad.in)
	var late net.Error
	if errors.As(err, &late) && late.Timeout() || n >= asked*large {
		t.Errorf("its connection goes on after %d bytes: %v", n, err)
	}
	ask("after")
	select {
	case err := <-ended:
		t.Errorf("the gateway's connection ended: %v", err)
	default:
	}
	_ = gateway.conn.Close()
	<-ended
}

// answer answers requests on a subject with many bytes and others with few, until the connection ends.
func answer(conn net.Conn, in *bufio.Reader, subject string, many int) error {
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	body := strings.Repeat("x", many)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
		case fields[0] == "PING":
			_, err = io.WriteString(conn, "PONG\r\n")
		case fields[0] == "-ERR":
			return errors.New(line)
		case len(fields) >= 5 && (fields[0] == "MSG" || fields[0] == "HMSG"):
			size, convErr := strconv.Atoi(fields[len(fields)-1])
			if convErr != nil {
				return convErr
			}
			if _, err := io.CopyN(io.Discard, in, int64(size)+2); err != nil {
				return err
			}
			data := "answer"
			if fields[1] == subject {
				data = body
			}
			_, err = fmt.Fprintf(conn, "PUB %s %d\r\n%s\r\n", fields[3], len(data), data)
		}
		if err != nil {
			return err
		}
	}
}
