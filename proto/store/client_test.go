package store

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
)

// client speaks the server's protocol, so that it sees each refusal.
type client struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
	sid  int
	got  []received // since the last take
}

// received is a message as it came.
type received struct{ subject, reply, data string }

func dial(t *testing.T, address string, seed []byte) *client {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &client{t: t, conn: conn, in: bufio.NewReader(conn)}
	line := c.line()
	var info struct {
		Nonce string `json:"nonce"`
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	pair, err := nkeys.FromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	sig, err := pair.Sign([]byte(info.Nonce))
	if err != nil {
		t.Fatal(err)
	}
	c.send("CONNECT {\"verbose\":false,\"lang\":\"test\",\"version\":\"1\",\"protocol\":1,\"headers\":true,\"no_responders\":true,\"nkey\":%q,\"sig\":%q}\r\n", public, base64.RawURLEncoding.EncodeToString(sig))
	if refused := c.settle(); refused != "" {
		t.Fatal(refused)
	}
	return c
}

func (c *client) send(format string, args ...any) {
	c.t.Helper()
	_ = c.conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := fmt.Fprintf(c.conn, format, args...); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) line() string {
	c.t.Helper()
	_ = c.conn.SetDeadline(time.Now().Add(20 * time.Second))
	line, err := c.in.ReadString('\n')
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// settle waits until the server has seen everything sent, and gives its refusal.
func (c *client) settle() (refused string) {
	c.t.Helper()
	c.send("PING\r\n")
	for {
		switch line := c.line(); {
		case line == "PONG":
			return refused
		case line == "PING":
			c.send("PONG\r\n")
		case strings.HasPrefix(line, "-ERR"):
			refused = line
		case strings.HasPrefix(line, "MSG "), strings.HasPrefix(line, "HMSG "):
			c.keep(strings.Fields(line))
		}
	}
}

// keep reads a message's body: MSG subject sid [reply] size, and HMSG subject sid
// [reply] headers size.
func (c *client) keep(fields []string) {
	c.t.Helper()
	m := received{subject: fields[1]}
	head := 0
	rest := fields[3:]
	size, err := strconv.Atoi(rest[len(rest)-1])
	if fields[0] == "HMSG" && err == nil {
		head, err = strconv.Atoi(rest[len(rest)-2])
		rest = rest[:len(rest)-1]
	}
	if err != nil {
		c.t.Fatalf("%v in %q", err, fields)
	}
	if len(rest) == 2 {
		m.reply = rest[0]
	}
	body := make([]byte, size+2)
	if _, err := io.ReadFull(c.in, body); err != nil {
		c.t.Fatal(err)
	}
	m.data = string(body[head:size])
	c.got = append(c.got, m)
}

// take gives what has come since the last call.
func (c *client) take() []received {
	c.t.Helper()
	c.settle()
	got := c.got
	c.got = nil
	return got
}

// subscribe hears a subject from now on.
func (c *client) subscribe(subject string) {
	c.t.Helper()
	c.sid++
	c.send("SUB %s %d\r\n", subject, c.sid)
	if refused := c.settle(); refused != "" {
		c.t.Fatal(refused)
	}
}

// publish sends a message that wants its answer on reply; "" wants none.
func (c *client) publish(subject, reply, data string) (refused string) {
	c.t.Helper()
	c.post(subject, reply, data)
	return c.settle()
}

func (c *client) post(subject, reply, data string) {
	c.t.Helper()
	c.send("PUB %s %s %d\r\n%s\r\n", subject, reply, len(data), data)
}

// request gives the answer to a message; what else comes meanwhile is kept. A refusal,
// and that nobody answers, is "".
func (c *client) request(inbox, subject, data string) string {
	c.t.Helper()
	c.sid++
	reply := fmt.Sprintf("%s.ask%d", inbox, c.sid)
	c.send("SUB %s %d\r\n", reply, c.sid)
	defer c.send("UNSUB %d\r\n", c.sid)
	if refused := c.publish(subject, reply, data); refused != "" {
		return ""
	}
	for {
		for i, m := range c.got {
			if m.subject == reply {
				c.got = slices.Delete(c.got, i, i+1)
				return m.data
			}
		}
		line := c.line()
		switch {
		case line == "PING":
			c.send("PONG\r\n")
		case strings.HasPrefix(line, "MSG "), strings.HasPrefix(line, "HMSG "):
			c.keep(strings.Fields(line))
		}
	}
}

// may tries both. What is published is nothing, to nobody.
func (c *client) may(subject string) (publish, subscribe bool) {
	c.t.Helper()
	c.sid++
	c.send("SUB %s %d\r\n", subject, c.sid)
	subscribe = c.settle() == ""
	if subscribe {
		c.send("UNSUB %d\r\n", c.sid)
	}
	if strings.ContainsAny(subject, "*>") {
		return false, subscribe
	}
	c.send("PUB %s 1\r\nx\r\n", subject)
	return c.settle() == "", subscribe
}
