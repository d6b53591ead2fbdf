package streams_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"k8s.io/client-go/rest"
)

// speak opens a path of the pod by GET with one subprotocol ("": none), as clients
// without a library do, and gives what came until the end.
func speak(t *testing.T, c *rest.Config, path, protocol string) (messages [][]byte) {
	t.Helper()
	dialer := websocket.Dialer{}
	if protocol != "" {
		dialer.Subprotocols = []string{protocol}
	}
	conn, resp, err := dialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(c.Host, "http")+"/api/v1/namespaces/default/pods/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	defer conn.Close()
	if got := resp.Header.Get("Sec-WebSocket-Protocol"); got != protocol {
		t.Errorf("asked for %q, got %q", protocol, got)
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		_, message, err := conn.ReadMessage()
		if err != nil {
			if !websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseNoStatusReceived, websocket.CloseAbnormalClosure) && err != io.EOF {
				t.Errorf("the stream ended with %v", err)
			}
			return messages
		}
		messages = append(messages, message)
	}
}

// channels joins messages by the channel that their first byte names: a number, or
// its digit where the rest is base64.
func channels(t *testing.T, messages [][]byte, text bool) map[byte]string {
	t.Helper()
	out := map[byte]string{}
	for _, m := range messages {
		id, data := m[0], m[1:]
		if text {
			id -= '0'
			var err error
			if data, err = base64.StdEncoding.DecodeString(string(data)); err != nil {
				t.Errorf("channel %d: %v", id, err)
			}
		}
		out[id] += string(data)
	}
	return out
}

func TestExecByEveryChannelProtocol(t *testing.T) {
	c := start(t)
	for protocol, is := range map[string]struct{ text, status bool }{
		"":                         {false, false},
		"channel.k8s.io":           {false, false},
		"base64.channel.k8s.io":    {true, false},
		"v4.channel.k8s.io":        {false, true},
		"v4.base64.channel.k8s.io": {true, true},
		"v5.channel.k8s.io":        {false, true},
	} {
		t.Run(protocol, func(t *testing.T) {
			got := channels(t, speak(t, c, "p/exec?container=a&command=echo&stdout=1&stderr=1", protocol), is.text)
			if got[1] != "exec [echo] tty=false\n" || got[2] != "to stderr\n" {
				t.Errorf("got %q", got)
			}
			if want := `"status":"Success"`; is.status != strings.Contains(got[3], want) {
				t.Errorf("the end is told as %q", got[3])
			}
			failed := channels(t, speak(t, c, "p/exec?container=a&command=false&stdout=1", protocol), is.text)
			if want := `"reason":"NonZeroExitCode"`; failed[3] == "" || is.status != strings.Contains(failed[3], want) {
				t.Errorf("a failure is told as %q", failed[3])
			}
		})
	}
}

func TestLogsByEveryReaderProtocol(t *testing.T) {
	c := start(t)
	for protocol, text := range map[string]bool{"": false, "binary.k8s.io": false, "base64.binary.k8s.io": true} {
		t.Run(protocol, func(t *testing.T) {
			var got string
			for _, m := range speak(t, c, "p/log?container=a&tailLines=3", protocol) {
				if text {
					decoded, err := base64.StdEncoding.DecodeString(string(m))
					if err != nil {
						t.Fatal(err)
					}
					m = decoded
				}
				got += string(m)
			}
			if got != "one\ntwo tail=3\n" {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestNodesAreAskedThroughTheirAgents(t *testing.T) {
	c := start(t)
	for path, want := range map[string]struct {
		code int
		text string
	}{
		"n/proxy/healthz":                               {200, "ok"},
		"n:10250/proxy/healthz":                         {200, "ok"},
		"n/proxy/containerLogs/default/p/a?tailLines=5": {200, "one\ntwo tail=5\n"},
		"n/proxy/containerLogs/default/p/u/a":           {200, "one\ntwo tail=-1\n"},
		"n/proxy/containerLogs/default/p/b":             {400, `container "b" is not running`},
		"n/proxy/containerLogs/default/lost/a":          {404, `pods "lost" not found`},
		"away/proxy/healthz":                            {503, "the agent of node away is not connected"},
		"nowhere/proxy/healthz":                         {404, `nodes "nowhere" not found`},
		"n:22/proxy/healthz":                            {400, "the agent of a node is reached by its name alone"},
		"n/proxy/stats/summary":                         {200, "my stats/summary"},
		"n/proxy/metrics/resource":                      {200, "my metrics/resource"},
		"n/proxy/metrics/cadvisor":                      {200, "my metrics/cadvisor"},
		"n/proxy/metrics":                               {200, "my metrics"},
		"n/proxy/metrics/probes":                        {200, "my metrics/probes"},
		"n/proxy/configz":                               {200, "my configz"},
		"away/proxy/metrics/resource":                   {503, "the agent of node away is not connected"},
		"n/proxy/stats/container":                       {404, "node n does not serve /stats/container"},
		"n/proxy/run/default/p/a":                       {404, "does not serve"},
	} {
		t.Run(path, func(t *testing.T) {
			resp, err := http.Get(c.Host + "/api/v1/nodes/" + path)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != want.code || !strings.Contains(strings.ReplaceAll(string(body), `\"`, `"`), want.text) {
				t.Errorf("got %d %s", resp.StatusCode, body)
			}
		})
	}
	resp, err := http.Get(c.Host + "/api/v1/nodes/n/proxy/pods/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if text := string(body); !strings.Contains(text, `"kind":"PodList"`) || !strings.Contains(text, `"name":"p"`) || strings.Contains(text, `"name":"lost"`) {
		t.Errorf("the pods of a node: got %s", text)
	}
	resp, err = http.Post(c.Host+"/api/v1/nodes/n/proxy/pods", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a write got %d", resp.StatusCode)
	}
}
