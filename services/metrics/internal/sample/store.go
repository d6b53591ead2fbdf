package sample

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"kubus.dev/proto/message"
)

const (
	// A container's start serves as its first reading when it is that long ago: less
	// gives no rate, more none of today.
	youngest = time.Second
	oldest   = 30 * time.Second
	// What of one node is kept: pods and containers together. More than ten times what a
	// node of 500 pods has.
	mostReadings = 20_000
	// No machine has more. Who adds up what pods use adds up many of these, and what
	// overflowed would take away from what other nodes' pods use.
	mostBytes     = 64 << 40
	mostNanoCores = 100_000 * 1e9
	// patience is how many rounds a node may miss before its readings are taken for old.
	patience = 2
)

// Rate is what something uses.
type Rate struct {
	Name      string // of the container
	NanoCores int64
	Bytes     int64         // its working set at Timestamp
	Timestamp time.Time     // end of the window
	Window    time.Duration // over which CPU was measured
}

// point is one reading.
type point struct {
	at    time.Time
	start time.Time
	cpu   uint64
	bytes uint64
}

// series is the last reading, and what the counter said until then.
type series struct {
	last point
	past history
}

type node struct {
	answered uint64 // round of its last message
	own      series
	pods     map[string]map[string]series // by uid and container
}

// Store is safe for concurrent use.
type Store struct {
	mu      sync.RWMutex
	round   uint64
	nodes   map[string]*node
	waiting int // nodes that answered the round before, and not yet this one
}

// New makes an empty store.
func New() *Store { return &Store{nodes: map[string]*node{}} }

// Begin opens a round: every node is asked. Nodes that answered none of the last rounds
// are forgotten.
func (s *Store) Begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.round++
	s.waiting = 0
	for name, n := range s.nodes {
		switch missed := s.round - 1 - n.answered; {
		case missed >= patience:
			delete(s.nodes, name)
		case missed == 0:
			s.waiting++
		}
	}
}

// Take stores what a node says, as far as it may say so much. It tells whether with it all have answered that did in
// the round before.
func (s *Store) Take(name string, m *message.NodeUsage) (complete bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[name]
	if n == nil {
		n = &node{}
		s.nodes[name] = n
	} else if n.answered+1 == s.round {
		s.waiting--
		complete = s.waiting == 0
	}
	n.answered = s.round
	began := time.Unix(0, m.TimeUnixNs)
	n.own = n.own.next(read(began, m.Node))
	pods := make(map[string]map[string]series, len(m.Pods))
	left := mostReadings
	for _, p := range m.Pods {
		if left -= 1 + len(p.Containers); left < 0 {
			break
		}
		containers := make(map[string]series, len(p.Containers))
		for _, c := range p.Containers {
			containers[c.Name] = n.pods[p.Uid][c.Name].next(read(began, c.Usage))
		}
		pods[p.Uid] = containers
	}
	n.pods = pods
	return complete
}

// read gives the reading, or none of what cannot be.
func read(began time.Time, u *message.Usage) point {
	if u == nil || u.MemoryBytes > mostBytes {
		return point{}
	}
	p := point{at: began.Add(time.Duration(u.AfterNs)), cpu: u.CpuNs, bytes: u.MemoryBytes}
	if u.StartUnixNs != 0 {
		p.start = time.Unix(0, u.StartUnixNs)
	}
	return p
}

// next is the series after one more reading. A container that started after the last one
// is another; a reading that is no later changes nothing.
func (s series) next(p point) series {
	now := mark{p.at, p.cpu}
	switch {
	case p.at.IsZero():
		return series{}
	case !s.last.at.IsZero() && p.start.Before(s.last.at) && p.cpu >= s.last.cpu:
		if !p.at.After(s.last.at) {
			return s
		}
		return series{last: p, past: s.past.then(now)}
	}
	if age := p.at.Sub(p.start); !p.start.IsZero() && age >= youngest && age <= oldest {
		return series{last: p, past: history{{at: p.start}, now}}
	}
	return series{last: p, past: history{now}}
}

func (s series) rate(name string) (Rate, bool) {
	nanoCores := s.past.rate()
	if s.past.window() <= 0 || nanoCores > mostNanoCores {
		return Rate{}, false
	}
	return Rate{
		Name: name, NanoCores: int64(nanoCores), Bytes: int64(s.last.bytes), Timestamp: s.last.at, Window: s.past.window(),
	}, true
}

// Node gives what a machine uses.
func (s *Store) Node(name string) (Rate, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := s.nodes[name]
	if n == nil {
		return Rate{}, false
	}
	return n.own.rate(name)
}

// Pod gives the containers of a pod by name, as its node says; false when there is no rate
// of one of them yet: half a pod would look like an idle one.
func (s *Store) Pod(nodeName, uid string) ([]Rate, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := s.nodes[nodeName]
	if n == nil || len(n.pods[uid]) == 0 {
		return nil, false
	}
	rates := make([]Rate, 0, len(n.pods[uid]))
	for name, c := range n.pods[uid] {
		r, ok := c.rate(name)
		if !ok {
			return nil, false
		}
		rates = append(rates, r)
	}
	slices.SortFunc(rates, func(a, b Rate) int { return cmp.Compare(a.Name, b.Name) })
	return rates, true
}
