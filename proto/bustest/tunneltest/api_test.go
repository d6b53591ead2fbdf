package tunneltest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/message"
)

// gateway is a small API: it tells who asks, fails in Kubernetes' way, and watches.
type gateway struct{}

func (gateway) ServeAs(user string, w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/expired" && r.URL.Query().Get("watch") == "1":
		s := apierrors.NewResourceExpired("too old").Status()
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "ERROR", "object": s})
	case r.URL.Query().Get("watch") == "1":
		for i := range 3 {
			fmt.Fprintf(w, `{"type":"ADDED","object":{"metadata":{"namespace":"a","name":"n%d","resourceVersion":"%d"}}}`+"\n", i, i+1)
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	case r.URL.Path == "/missing":
		s := apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, "x").Status()
		s.Kind, s.APIVersion = "Status", "v1"
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_ = json.NewEncoder(w).Encode(s)
	case strings.HasPrefix(r.URL.Path, "/cut"):
		_, _ = io.WriteString(w, `{"items":[`)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case r.URL.Path == "/list" || r.URL.Path == "/expired":
		_, _ = io.WriteString(w, `{"metadata":{"resourceVersion":"0"},"items":[{"metadata":{"name":"old"}}]}`)
	default:
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "%s %s %s %s", user, r.Method, r.URL.RequestURI(), body)
	}
}

func (g gateway) BulkAs(ctx context.Context, user string, b *message.BulkRequest) (*message.BulkResponse, error) {
	resp := &message.BulkResponse{}
	for _, it := range b.Items {
		r, err := apiclient.NewRequest(ctx, it)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		resp.Items = append(resp.Items, apiclient.Record(g, user, r))
	}
	return resp, nil
}

func (gateway) AcquireFenceAs(_ context.Context, user string, r *message.AcquireFence) (*message.FenceState, error) {
	if r.Name == "bad" {
		return nil, apierrors.NewForbidden(schema.GroupResource{}, "bad", errors.New("no"))
	}
	return &message.FenceState{Name: r.Name, Holder: user, Epoch: r.Epoch + 1}, nil
}

// both runs a test over the bus and in process: nothing may work in one form only.
func both(t *testing.T, test func(t *testing.T, c *apiclient.Client)) {
	t.Run("in process", func(t *testing.T) { test(t, apiclient.New(apiclient.Local(gateway{}), "alice")) })
	t.Run("over the bus", func(t *testing.T) {
		srv := bustest.Server(t)
		server := bustest.Connect(t, srv)
		sub, err := apiclient.Serve(t.Context(), server, gateway{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(sub.Stop)
		if err := server.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		test(t, apiclient.New(apiclient.OverBus(bustest.Connect(t, srv)), "alice"))
	})
}

func TestRequestsCarryUserMethodPathAndBody(t *testing.T) {
	both(t, func(t *testing.T, c *apiclient.Client) {
		got, err := c.As("system:node:a").Do(t.Context(), apiclient.Request{Method: "POST", Path: "/api/v1/x", Query: url.Values{"a": {"b c"}}, Body: []byte("body")})
		if want := "system:node:a POST /api/v1/x?a=b+c body"; err != nil || string(got) != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	})
}

func TestFailuresAreStatusErrors(t *testing.T) {
	both(t, func(t *testing.T, c *apiclient.Client) {
		_, err := c.Do(t.Context(), apiclient.Request{Path: "/missing"})
		if !apierrors.IsNotFound(err) || err.Error() != `pods "x" not found` {
			t.Errorf("got %v", err)
		}
		if _, err := c.AcquireFence(t.Context(), "bad", "me", 0); !apierrors.IsForbidden(err) {
			t.Errorf("got %v", err)
		}
	})
}

func TestBulkAnswersInOrder(t *testing.T) {
	both(t, func(t *testing.T, c *apiclient.Client) {
		var reqs []apiclient.Request
		for i := range 1200 {
			reqs = append(reqs, apiclient.Request{Method: "PUT", Path: fmt.Sprintf("/o/%d", i)})
		}
		reqs[700].Path = "/missing"
		res, err := c.Bulk(t.Context(), apiclient.BulkOptions{}, reqs)
		if err != nil || len(res) != len(reqs) {
			t.Fatalf("got %d answers, %v", len(res), err)
		}
		for i, r := range res {
			if i == 700 {
				if !apierrors.IsNotFound(r.Err) {
					t.Errorf("item 700: %v", r.Err)
				}
			} else if r.Err != nil || !strings.HasSuffix(string(r.Body), fmt.Sprintf("/o/%d ", i)) {
				t.Fatalf("item %d: %q %v", i, r.Body, r.Err)
			}
		}
	})
}

func TestAnAnswerThatIsCutShortIsAnErrorAndEndsNothingElse(t *testing.T) {
	both(t, func(t *testing.T, c *apiclient.Client) {
		if got, err := c.Do(t.Context(), apiclient.Request{Path: "/cut"}); err == nil || !strings.Contains(err.Error(), apiclient.ErrCut.Error()) {
			t.Errorf("a stream: got %q, %v", got, err)
		}
		if _, err := c.Do(t.Context(), apiclient.Request{Method: "POST", Path: "/cut"}); err == nil || !strings.Contains(err.Error(), apiclient.ErrCut.Error()) {
			t.Errorf("a request: got %v", err)
		}
		results, err := c.Bulk(t.Context(), apiclient.BulkOptions{}, []apiclient.Request{{Method: "PUT", Path: "/a"}, {Method: "PUT", Path: "/cut"}})
		if err != nil || results[0].Err != nil || !apierrors.IsInternalError(results[1].Err) {
			t.Errorf("in a bulk: got %v, %v", results, err)
		}
		if _, err := c.Do(t.Context(), apiclient.Request{Method: "PUT", Path: "/after"}); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestListWatchShowsTheListThenTheChanges(t *testing.T) {
	both(t, func(t *testing.T, c *apiclient.Client) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var mu sync.Mutex
		var got []string
		err := apiclient.ListWatch(ctx, c, "/list", nil, func(old, obj *metav1.PartialObjectMetadata) {
			mu.Lock()
			defer mu.Unlock()
			if ctx.Err() != nil { // what was on its way may still come
				return
			}
			got = append(got, obj.Name)
			if len(got) == 4 {
				cancel()
			}
		}, nil)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if fmt.Sprint(got) != "[old n0 n1 n2]" {
			t.Errorf("got %v", got)
		}
	})
}

// A watch that is always too old is begun anew again and again, each time after a while,
// and the client is told.
func TestListWatchTellsWhyItBeginsAnew(t *testing.T) {
	both(t, func(t *testing.T, c *apiclient.Client) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var told []string
		c = c.Reporting(func(path string, err error) {
			if !apierrors.IsResourceExpired(err) {
				t.Errorf("got %v", err)
			}
			if told = append(told, path); len(told) == 3 {
				cancel()
			}
		})
		synced := 0
		err := apiclient.ListWatch(ctx, c, "/expired", nil, func(_, _ *metav1.PartialObjectMetadata) {}, func() { synced++ })
		if !errors.Is(err, context.Canceled) || fmt.Sprint(told) != "[/expired /expired /expired]" || synced != 1 {
			t.Errorf("got %v after %v, synced %d times", err, told, synced)
		}
	})
}
