package forward_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"kubus.dev/services/dns/internal/forward"
)

// world answers as servers elsewhere would, and records who was asked.
type world struct {
	mu    sync.Mutex
	asked []string
	down  map[string]bool
	ttl   string
	wait  time.Duration
}

func (w *world) exchange(_ context.Context, m *dns.Msg, server string) (*dns.Msg, error) {
	time.Sleep(w.wait)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, server)
	if w.down[server] {
		return nil, errors.New("no answer")
	}
	reply := new(dns.Msg)
	reply.SetReply(m)
	rr, err := dns.NewRR(m.Question[0].Name + " " + w.ttl + " IN A 192.0.2.80")
	if err != nil {
		return nil, err
	}
	reply.Answer = append(reply.Answer, rr)
	return reply, nil
}

var question = forward.Question{Name: "example.com.", Type: dns.TypeA, Class: dns.ClassINET}

func TestServersAreTriedInOrderAndTheOneThatAnsweredComesFirst(t *testing.T) {
	t.Parallel()
	w := &world{ttl: "60", down: map[string]bool{"192.0.2.1:53": true}}
	r := forward.New(forward.Options{Servers: []string{"192.0.2.1", "192.0.2.2:5353", "192.0.2.3"}, Not: []string{"192.0.2.3:53"}, Exchange: w.exchange})
	for range 2 {
		if _, err := r.Resolve(t.Context(), question); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"192.0.2.1:53", "192.0.2.2:5353", "192.0.2.2:5353"}; !slices.Equal(w.asked, want) {
		t.Errorf("asked %v, want %v", w.asked, want)
	}
	w.down["192.0.2.2:5353"] = true
	if _, err := r.Resolve(t.Context(), question); err == nil || errors.Is(err, forward.ErrNoServers) {
		t.Errorf("with all down: got %v, want the last server's error", err)
	}
}

func TestWithNobodyToAskTheErrorSaysSo(t *testing.T) {
	t.Parallel()
	r := forward.New(forward.Options{})
	if _, err := r.Resolve(t.Context(), question); !errors.Is(err, forward.ErrNoServers) || r.Enabled() {
		t.Errorf("got %v, enabled %t", err, r.Enabled())
	}
}

func TestAnAnswerIsRememberedForItsTimeAndItsTimeRunsOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{ttl: "60"}
		r := forward.New(forward.Options{Servers: []string{"192.0.2.1"}, CacheSize: 10, Exchange: w.exchange})
		ttl := func() uint32 {
			m, err := r.Resolve(t.Context(), question)
			if err != nil {
				t.Fatal(err)
			}
			return m.Answer[0].Header().Ttl
		}
		if got := ttl(); got != 60 {
			t.Errorf("at first: TTL %d, want 60", got)
		}
		time.Sleep(20 * time.Second)
		if got := ttl(); got != 40 || len(w.asked) != 1 {
			t.Errorf("20 s later: TTL %d, asked %d times, want 40 and once", got, len(w.asked))
		}
		time.Sleep(40 * time.Second)
		if got := ttl(); got != 60 || len(w.asked) != 2 {
			t.Errorf("after its time: TTL %d, asked %d times, want 60 and twice", got, len(w.asked))
		}
	})
}

func TestEqualQuestionsUnderWayAreAskedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{ttl: "0", wait: time.Second}
		r := forward.New(forward.Options{Servers: []string{"192.0.2.1"}, CacheSize: 10, Exchange: w.exchange})
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				if _, err := r.Resolve(t.Context(), question); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if len(w.asked) != 1 {
			t.Errorf("asked %d times, want once", len(w.asked))
		}
	})
}

func TestTheCacheForgetsWhatWasNotUsed(t *testing.T) {
	t.Parallel()
	w := &world{ttl: "60"}
	r := forward.New(forward.Options{Servers: []string{"192.0.2.1"}, CacheSize: 2, Exchange: w.exchange})
	for _, name := range []string{"a.", "b.", "a.", "c.", "a.", "b."} { // c pushes b out
		if _, err := r.Resolve(t.Context(), forward.Question{Name: name, Type: dns.TypeA, Class: dns.ClassINET}); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.asked) != 4 {
		t.Errorf("asked %d times, want 4: a, b, c and b again", len(w.asked))
	}
}

func TestAFileOfServersIsReadAgainWhenItChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "resolv.conf")
		write := func(text string, modified time.Time) {
			if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chtimes(path, modified, modified)); err != nil {
				t.Fatal(err)
			}
		}
		w := &world{ttl: "0"}
		r := forward.New(forward.Options{Servers: []string{path}, Exchange: w.exchange})
		if _, err := r.Resolve(t.Context(), question); !errors.Is(err, forward.ErrNoServers) {
			t.Errorf("before the file is there: %v", err)
		}
		for i, server := range []string{"192.0.2.1", "192.0.2.2"} {
			write("search example.com\nnameserver "+server+"\n", time.Unix(int64(i+1), 0))
			time.Sleep(10 * time.Second)
			if _, err := r.Resolve(t.Context(), question); err != nil {
				t.Errorf("%s: %v", server, err)
			}
		}
		if want := []string{"192.0.2.1:53", "192.0.2.2:53"}; !slices.Equal(w.asked, want) {
			t.Errorf("asked %v, want %v", w.asked, want)
		}
	})
}
