package tunneltest

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"

	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
)

func TestAskAndAnswer(t *testing.T) {
	conn := bustest.Connect(t, bustest.Server(t))
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // 16 MiB: more than a message may have
	req := func(path string) *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://x"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Who", "me")
		return r
	}
	if _, err := apiclient.Ask(conn, "things", req("/")); !errors.Is(err, bus.ErrNoResponders) {
		t.Errorf("nobody there: %v", err)
	}
	sub, err := apiclient.Answer(t.Context(), conn, "things", "queue", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/big" {
			_, _ = w.Write(big)
			return
		}
		w.Header().Set("X-Path", r.URL.RequestURI()+" "+r.Header.Get("X-Who"))
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "short")
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Stop()
	for path, want := range map[string]struct {
		code   int
		header string
		body   []byte
	}{
		"/a?b=c": {http.StatusTeapot, "/a?b=c me", []byte("short")},
		"/big":   {http.StatusOK, "", big},
	} {
		resp, err := apiclient.Ask(conn, "things", req(path))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != want.code || resp.Header.Get("X-Path") != want.header || !bytes.Equal(body, want.body) || resp.Header.Get("Kubus-Gzip") != "" {
			t.Errorf("%s: got %d %v, %d bytes, %v", path, resp.StatusCode, resp.Header, len(body), err)
		}
	}
}
