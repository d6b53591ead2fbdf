package audit

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/request"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
)

const policyText = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: None
  users: [quiet]
- level: Metadata
  resources: [{group: "", resources: [secrets]}]
- level: RequestResponse
  resources: [{group: "", resources: [configmaps, pods]}]
- level: Metadata
`

// begin makes an audit of the policy with a log file; it ends with the test.
func begin(t *testing.T, change func(*Options)) (*Audit, string) {
	t.Helper()
	dir := t.TempDir()
	policy, file := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "audit.log")
	if err := os.WriteFile(policy, []byte(policyText), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{Config: Config{PolicyFile: policy, LogFile: file}, Logger: zap.NewNop(),
		LongRunning: func(_ *http.Request, info *request.RequestInfo) bool { return info.Verb == "watch" }}
	if change != nil {
		change(&o)
	}
	a, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return a, file
}

// asked serves a GET of a user as the chain would have it served.
func asked(a *Audit, name, resource, object string, h http.HandlerFunc) (recovered any) {
	defer func() { recovered = recover() }()
	info := &request.RequestInfo{IsResourceRequest: true, Verb: "get", APIPrefix: "api", APIVersion: "v1", Namespace: "n", Resource: resource, Name: object, Path: "/api/v1/namespaces/n/" + resource + "/" + object}
	if object == "" {
		info.Verb = "watch"
	}
	r := httptest.NewRequest("GET", info.Path, nil)
	r.Header.Set("Authorization", "Bearer very-secret")
	ctx := request.WithReceivedTimestamp(request.WithRequestInfo(r.Context(), info), time.Now())
	ctx = request.WithUser(ctx, &user.DefaultInfo{Name: name})
	filters.WithAuditInit(a.Handler(h)).ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))
	return nil
}

func written(t *testing.T, file string) (events []auditv1.Event, text string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return nil, ""
	}
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var e auditv1.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		events = append(events, e)
	}
	return events, string(data)
}

const configMap = `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x","managedFields":[{"manager":"m"}]},"data":{"a":"1"}}`

func TestThePolicySaysWhatIsWrittenDown(t *testing.T) {
	t.Parallel()
	a, file := begin(t, nil)
	answer := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, body)
		}
	}
	asked(a, "quiet", "configmaps", "x", answer(configMap))
	if events, _ := written(t, file); len(events) != 0 {
		t.Fatalf("of a user whom the policy leaves out: %v", events)
	}
	asked(a, "alice", "secrets", "x", answer(`{"kind":"Secret","apiVersion":"v1","metadata":{"name":"x"},"data":{"password":"aHVudGVyMg=="}}`))
	asked(a, "alice", "configmaps", "x", answer(configMap))
	asked(a, "alice", "configmaps", "y", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, configMap)
		_ = z.Close()
	})
	events, text := written(t, file)
	if len(events) != 3 {
		t.Fatalf("got %s", text)
	}
	for _, e := range events {
		if e.Stage != auditv1.StageResponseComplete || e.User.Username != "alice" || e.ResponseStatus.Code != 200 || e.AuditID == "" || e.ObjectRef.Namespace != "n" {
			t.Errorf("got %+v", e)
		}
	}
	if strings.Contains(text, "aHVudGVyMg") || strings.Contains(text, "very-secret") {
		t.Errorf("a secret is in the log: %s", text)
	}
	if events[0].ResponseObject != nil || events[0].Level != auditv1.LevelMetadata {
		t.Errorf("of a Secret: got %+v", events[0])
	}
	for _, e := range events[1:] {
		if e.ResponseObject == nil || !bytes.Contains(e.ResponseObject.Raw, []byte(`"data":{"a":"1"}`)) || bytes.Contains(e.ResponseObject.Raw, []byte("managedFields")) {
			t.Errorf("of a ConfigMap: got %s", e.ResponseObject.Raw)
		}
	}
}

func TestStagesOfAStreamAndOfAPanic(t *testing.T) {
	t.Parallel()
	a, file := begin(t, nil)
	asked(a, "alice", "pods", "", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		if events, text := written(t, file); len(events) != 1 || events[0].Stage != auditv1.StageResponseStarted {
			t.Errorf("while a watch runs: got %s", text)
		}
	})
	if reason := asked(a, "alice", "pods", "p", func(http.ResponseWriter, *http.Request) { panic("on purpose") }); reason != "on purpose" {
		t.Errorf("the panic became %v", reason)
	}
	events, text := written(t, file)
	if len(events) != 3 || events[1].Stage != auditv1.StageResponseComplete || events[2].Stage != auditv1.StagePanic || events[2].ResponseStatus.Code != 500 {
		t.Errorf("got %s", text)
	}
}

func TestALargeAnswerIsLeftOutAndNamed(t *testing.T) {
	t.Parallel()
	a, file := begin(t, nil)
	asked(a, "alice", "configmaps", "x", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, bodyMost))
		_, _ = w.Write([]byte("more"))
	})
	events, _ := written(t, file)
	if len(events) != 1 || events[0].ResponseObject != nil || events[0].Annotations["audit.kubus.dev/response-omitted"] == "" {
		t.Errorf("got %+v", events)
	}
}

func TestEventsGoToTheBus(t *testing.T) {
	conn := bustest.Start(t)
	a, _ := begin(t, func(o *Options) { o.LogFile, o.Stream, o.Conn, o.Replicas = "", true, conn, 1 })
	asked(a, "alice", "secrets", "x", func(http.ResponseWriter, *http.Request) {})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got *bus.StreamMsg
	_ = conn.Consume(ctx, proto.AuditStream.Name, nil, 1, func(m *bus.StreamMsg) { got = m; cancel() })
	if got == nil {
		t.Fatal("nothing came")
	}
	var e auditv1.Event
	if err := json.Unmarshal(got.Data, &e); err != nil || got.Subject != "audit.get.secrets" || e.User.Username != "alice" || e.Kind != "Event" {
		t.Errorf("got %s %s, %v", got.Subject, got.Data, err)
	}
}

func TestConfigurationIsWholeOrNothing(t *testing.T) {
	t.Parallel()
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(policy, []byte(policyText), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		Config
		want string
	}{
		"nothing":                 {Config{}, ""},
		"a policy and a log":      {Config{PolicyFile: policy, LogFile: "x"}, ""},
		"a policy and the stream": {Config{PolicyFile: policy, Stream: true}, ""},
		"a policy for nothing":    {Config{PolicyFile: policy}, "audit.logFile: "},
		"a log without a policy":  {Config{LogFile: "x"}, "audit.policyFile: "},
		"a policy that is none":   {Config{PolicyFile: os.DevNull, LogFile: "x"}, "audit.policyFile: "},
	} {
		t.Run(name, func(t *testing.T) {
			errs := c.Validate()
			if (len(errs) > 0) != (c.want != "") || c.want != "" && !strings.HasPrefix(errs[0].Error(), c.want) {
				t.Errorf("got %v, want %q", errs, c.want)
			}
		})
	}
	if a, err := New(t.Context(), Options{}); a != nil || err != nil {
		t.Errorf("without a policy: got %v, %v", a, err)
	}
}
