// Package statelogtest gives tests a state log over a server of their own, and
// holds the log's specification as tests against the real server.
package statelogtest

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/statelog"
)

// Log is an open log with its views and connection.
type Log struct {
	*statelog.Log
	Conn *bus.Conn

	t testing.TB
}

// Open starts a server and opens a log that ends with the test.
func Open(t testing.TB) *Log {
	t.Helper()
	return On(t, bustest.Connect(t, bustest.Server(t)))
}

// On opens a log over a connection.
func On(t testing.TB, conn *bus.Conn) *Log {
	t.Helper()
	logger := zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel))
	views := statelog.OpenViews(t.Context(), conn, logger)
	l, err := statelog.OpenLog(t.Context(), conn, views, 1, logger)
	if err != nil {
		t.Fatalf("opening the log: %v", err)
	}
	if err := views.Ready(t.Context()); err != nil {
		t.Fatalf("opening the views: %v", err)
	}
	return &Log{Log: l, Conn: conn, t: t}
}

// Signed opens a log over a connection that believes what is signed.
func Signed(t testing.TB, conn *bus.Conn, trust statelog.Trust) *Log {
	t.Helper()
	l, err := trySigned(t, conn, trust)
	if err != nil {
		t.Fatalf("opening the log: %v", err)
	}
	return l
}

func trySigned(t testing.TB, conn *bus.Conn, trust statelog.Trust) (*Log, error) {
	logger := zaptest.NewLogger(t, zaptest.Level(zap.FatalLevel))
	views := statelog.OpenSignedViews(t.Context(), conn, trust, logger)
	l, err := statelog.OpenLog(t.Context(), conn, views, 1, logger)
	if err == nil {
		err = views.Trusted(t.Context())
	}
	return &Log{Log: l, Conn: conn, t: t}, err
}

// Keys are signing keys, one for each byte.
func Keys(t testing.TB, seeds ...byte) *statelog.Keys {
	t.Helper()
	var secrets [][]byte
	for _, b := range seeds {
		secrets = append(secrets, bytes.Repeat([]byte{b}, statelog.KeySize))
	}
	keys, err := statelog.NewKeys(secrets...)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// Key parses resource[.group]/[namespace/]name.
func Key(s string) proto.Key {
	parts := strings.Split(s, "/")
	k := proto.Key{Name: parts[len(parts)-1]}
	k.Resource, k.Group, _ = strings.Cut(parts[0], ".")
	if len(parts) == 3 {
		k.Namespace = parts[1]
	}
	return k
}

// Put stores any object over whatever is there and gives its revision; it is how
// a test makes the world that a service sees. obj's resourceVersion is ignored.
func (l *Log) Put(k proto.Key, obj any) uint64 {
	l.t.Helper()
	return l.commit(k, Encode(l.t, obj), false)
}

// Remove deletes an object that exists.
func (l *Log) Remove(k proto.Key) uint64 {
	l.t.Helper()
	live := l.View(k.GroupResource).Get(k.GroupResource, k.Namespace, k.Name)
	if live == nil {
		l.t.Fatalf("removing %s: there is none", k)
	}
	return l.commit(k, live.Data(), true)
}

func (l *Log) commit(k proto.Key, data []byte, remove bool) uint64 {
	l.t.Helper()
	w := statelog.Write{Key: k, Data: data, Delete: remove}
	if live := l.View(k.GroupResource).Get(k.GroupResource, k.Namespace, k.Name); live != nil {
		w.Expect = live.Revision()
	}
	rev, err := l.Commit(l.t.Context(), w)
	if err != nil {
		l.t.Fatalf("writing %s: %v", k, err)
	}
	return rev
}

// Encode gives an object's JSON as the log stores it.
func Encode(t testing.TB, obj any) []byte {
	t.Helper()
	data, err := json.Marshal(obj)
	if err != nil {
		t.Fatalf("encoding: %v", err)
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatalf("encoding: %v", err)
	}
	if meta, ok := m["metadata"].(map[string]any); ok {
		delete(meta, "resourceVersion")
	}
	if data, err = json.Marshal(m); err != nil {
		t.Fatalf("encoding: %v", err)
	}
	return data
}
