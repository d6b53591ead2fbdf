package statelog

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kubus.dev/proto/bus"
)

// shelf is a store that keeps the newest message of each subject, and a reader of it that
// is slow now and then.
type shelf struct {
	mu      sync.Mutex // not held while a message is handed over
	rand    *rand.Rand
	newest  map[string]uint64 // by subject
	at      map[uint64]string // what there still is
	expired map[string]uint64 // the newest that was taken away, not replaced
	last    uint64
	written []*bus.StreamMsg
	next    uint64
}

func (s *shelf) write(subject string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	delete(s.at, s.newest[subject])
	s.newest[subject], s.at[s.last] = s.last, subject
	s.written = append(s.written, &bus.StreamMsg{Subject: subject, Seq: s.last})
}

// expire takes the newest message away.
func (s *shelf) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expired[s.at[s.last]] = s.last
	delete(s.at, s.last)
}

// read gives the next message, nil where there is none. What it says of those that wait is
// now and then too little, as a server's.
func (s *shelf) read() *bus.StreamMsg {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; s.next <= s.last; s.next++ {
		if subject, there := s.at[s.next]; there {
			s.next++
			m := &bus.StreamMsg{Subject: subject, Seq: s.next - 1}
			if s.rand.IntN(3) > 0 {
				m.Pending = s.last - m.Seq
			}
			return m
		}
	}
	return nil
}

func (s *shelf) StreamState(context.Context, string) (bus.StreamState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rand.IntN(10) == 0 {
		return bus.StreamState{}, bus.ErrUnavailable
	}
	return bus.StreamState{FirstSeq: 1, LastSeq: s.last}, nil
}

func (s *shelf) FirstBehind(_ context.Context, _ string, _ []string, seq uint64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for seq++; seq <= s.last; seq++ {
		if _, there := s.at[seq]; there {
			return seq, nil
		}
	}
	return 0, nil
}

// However late the reader is: what is settled is there, and in the end all is settled.
func TestWhatIsSettledIsThere(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			s := &shelf{rand: rand.New(rand.NewPCG(seed, 0)), newest: map[string]uint64{}, at: map[uint64]string{}, expired: map[string]uint64{}, next: 1}
			turn := rand.New(rand.NewPCG(seed, 1))
			seen := map[string]uint64{}
			settled := uint64(0)
			st := newSettler(s, Reading{From: 1}, Handler{
				Message: func(m *bus.StreamMsg) { seen[m.Subject] = m.Seq },
				Settled: func(seq uint64) {
					if seq < settled {
						t.Errorf("seed %d: settled at %d after %d", seed, seq, settled)
					}
					settled = seq
					s.mu.Lock()
					defer s.mu.Unlock()
					for _, m := range s.written[:seq] {
						if seen[m.Subject] < m.Seq && s.expired[m.Subject] < m.Seq {
							t.Fatalf("seed %d: settled up to %d without %s of %d", seed, seq, m.Subject, m.Seq)
						}
					}
				},
			})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				st.run(ctx)
			}()
			for range 300 {
				for range turn.IntN(4) {
					s.write(fmt.Sprint(turn.IntN(6)))
				}
				if turn.IntN(20) == 0 {
					s.expire()
				}
				for range turn.IntN(5) {
					if m := s.read(); m != nil {
						st.message(m)
					}
				}
				if turn.IntN(3) == 0 {
					time.Sleep(time.Duration(turn.IntN(5)) * time.Millisecond)
				}
				synctest.Wait()
			}
			s.write("end")
			for m := s.read(); m != nil; m = s.read() {
				st.message(m)
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if settled != s.last {
				t.Errorf("seed %d: with everything read it is settled up to %d of %d", seed, settled, s.last)
			}
			cancel()
			<-done
		})
	}
}
