package logs

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const sample = `2026-01-02T03:04:05.000000001Z stdout F one
2026-01-02T03:04:06.000000002Z stderr F two
2026-01-02T03:04:07.000000003Z stdout P par
2026-01-02T03:04:08.000000004Z stdout F tial
2026-01-02T03:04:09.000000005Z stdout F five
`

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "0.log")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"everything":                   {Options{Tail: -1}, "one\ntwo\npartial\nfive\n"},
		"the last line":                {Options{Tail: 1}, "five\n"},
		"nothing":                      {Options{Tail: 0}, ""},
		"more lines than there are":    {Options{Tail: 99}, "one\ntwo\npartial\nfive\n"},
		"with timestamps once a line":  {Options{Tail: -1, Timestamps: true}, "2026-01-02T03:04:05.000000001Z one\n2026-01-02T03:04:06.000000002Z two\n2026-01-02T03:04:07.000000003Z partial\n2026-01-02T03:04:09.000000005Z five\n"},
		"since a time":                 {Options{Tail: -1, Since: time.Date(2026, 1, 2, 3, 4, 9, 0, time.UTC)}, "five\n"},
		"no more bytes than the limit": {Options{Tail: -1, Limit: 5}, "one\nt"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if err := Read(t.Context(), write(t, sample), c.o, &out, &out); err != nil {
				t.Fatal(err)
			}
			if out.String() != c.want {
				t.Errorf("got %q, want %q", out.String(), c.want)
			}
		})
	}
}

func TestReadSkipsWhatItCannotRead(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := Read(t.Context(), write(t, "garbage\n\nx stdout\n2026-01-02T03:04:05Z stdout F good\n2026-01-02T03:04:05Z stdout F cut"), Options{Tail: -1}, &out, nil); err != nil {
		t.Fatal(err)
	}
	if out.String() != "good\ncut" {
		t.Errorf("got %q", out.String())
	}
}

type safe struct {
	mu  sync.Mutex
	buf bytes.Buffer
	got chan struct{}
}

func (s *safe) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.got <- struct{}{}:
	default:
	}
	return s.buf.Write(p)
}

func (s *safe) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

func TestFollowSeesWritesRotationAndTheEnd(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	path := write(t, sample)
	ended := make(chan struct{})
	out := &safe{got: make(chan struct{}, 1)}
	done := make(chan error, 1)
	go func() { done <- Read(ctx, path, Options{Follow: true, Tail: 1, Ended: ended}, out, out) }()
	wait := func(want string) {
		t.Helper()
		for !strings.Contains(out.text(), want) {
			select {
			case <-out.got:
			case <-ctx.Done():
				t.Fatalf("no %q in %q", want, out.text())
			}
		}
	}
	add := func(text string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	wait("five\n")
	add("2026-01-02T03:04:10Z stdout F si")
	add("x\n")
	wait("six\n")
	add("2026-01-02T03:04:10Z stdout F last of the old\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	add("2026-01-02T03:04:11Z stdout F first of the new\n")
	wait("last of the old\nfirst of the new\n")
	add("2026-01-02T03:04:12Z stdout F the end\n")
	close(ended)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := out.text(); got != "five\nsix\nlast of the old\nfirst of the new\nthe end\n" {
		t.Errorf("got %q", got)
	}
}

// slow keeps its first writer waiting.
type slow struct {
	*safe
	first   sync.Once
	waits   chan struct{} // closed by the first write
	further chan struct{}
}

func (s *slow) Write(p []byte) (int, error) {
	s.first.Do(func() {
		close(s.waits)
		<-s.further
	})
	return s.safe.Write(p)
}

func TestFollowReadsEveryFileThatIsStillThere(t *testing.T) {
	t.Parallel()
	record := func(text string) string { return "2026-01-02T03:04:05Z stdout F " + text + "\n" }
	for name, tt := range map[string]struct {
		removed []string
		want    string
	}{
		"all rotated files are kept":            {nil, "0\n1\n2\n3\n"},
		"its own was removed":                   {[]string{".a"}, "0\n1\n2\n3\n"},
		"its own and the next one were removed": {[]string{".a", ".b"}, "0\n2\n3\n"},
		"every rotated file was removed":        {[]string{".a", ".b", ".c"}, "0\n3\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := write(t, record("0"))
			ended := make(chan struct{})
			out := &slow{safe: &safe{got: make(chan struct{}, 1)}, waits: make(chan struct{}), further: make(chan struct{})}
			done := make(chan error, 1)
			go func() { done <- Read(t.Context(), path, Options{Follow: true, Tail: -1, Ended: ended}, out, out) }()
			<-out.waits
			for i, suffix := range []string{".a", ".b", ".c"} {
				if err := os.Rename(path, path+suffix); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(record(string(rune('1'+i)))), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for _, suffix := range tt.removed {
				if err := os.Remove(path + suffix); err != nil {
					t.Fatal(err)
				}
			}
			close(ended)
			close(out.further)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if got := out.text(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("2026-01-02T03:04:05Z stdout F x\n"))
	f.Add([]byte("2026-01-02T03:04:05Z stdout  an empty tag\n")) // finding 15: it ended the agent
	f.Add([]byte("2026-01-02T03:04:05Z stdout P\n"))
	f.Add([]byte("  "))
	f.Fuzz(func(_ *testing.T, raw []byte) {
		if l, err := parse(raw); err == nil {
			l.time()
		}
	})
}

// FuzzRead reads a log that a container could have written itself, in every way that users ask for.
func FuzzRead(f *testing.F) {
	f.Add([]byte(sample), int64(2), int64(7), true)
	f.Add([]byte("\n\n \n2026-01-02T03:04:05Z stdout  x\n"), int64(1), int64(1), false)
	f.Add([]byte("2026-01-02T03:04:05Z stdout F "+strings.Repeat("x", 70<<10)), int64(0), int64(3), true)
	f.Add([]byte("x stderr P\nx stderr P"), int64(-1), int64(0), false)
	f.Fuzz(func(t *testing.T, log []byte, tail, limit int64, stamps bool) {
		path := filepath.Join(t.TempDir(), "0.log")
		if err := os.WriteFile(path, log, 0o600); err != nil {
			t.Fatal(err)
		}
		var all, some bytes.Buffer
		if err := Read(t.Context(), path, Options{Tail: -1, Timestamps: stamps}, &all, &all); err != nil {
			t.Fatal(err)
		}
		if err := Read(t.Context(), path, Options{Tail: tail, Limit: limit, Timestamps: stamps}, &some, &some); err != nil {
			t.Fatal(err)
		}
		if all.Len() > 2*len(log) {
			t.Errorf("%d bytes came out of %d", all.Len(), len(log))
		}
		if limit > 0 && int64(some.Len()) > limit {
			t.Errorf("%d bytes, the limit is %d", some.Len(), limit)
		}
		if tail < 0 && limit <= 0 && !bytes.Equal(some.Bytes(), all.Bytes()) {
			t.Errorf("got %q, want %q", some.Bytes(), all.Bytes())
		}
		if tail >= 0 && limit <= 0 && !stamps && int64(bytes.Count(some.Bytes(), []byte("\n"))) > tail {
			t.Errorf("%d lines were asked for, got %q", tail, some.Bytes())
		}
		if text, err := Last(t.Context(), path, 5, 10); err != nil || len(text) > 10 {
			t.Errorf("the end: %q, %v", text, err)
		}
	})
}
