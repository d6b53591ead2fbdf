package custom

import (
	"hash/maphash"
	"sync"
)

// seen remembers what a walk over a document found, by the document's hash: the same
// bytes have the same outcome under any revision. The zero value is ready; safe for
// concurrent use.
type seen struct {
	mu       sync.RWMutex
	outcomes map[uint64]bool
}

// mostSeen bounds the memory to some 8 MiB a version of a kind. A collection that has
// changed so often is walked over anew.
const mostSeen = 1 << 18

var seed = maphash.MakeSeed()

// of gives the outcome for a document; walk finds it where it is not known.
func (s *seen) of(document []byte, walk func([]byte) bool) bool {
	hash := maphash.Bytes(seed, document)
	s.mu.RLock()
	outcome, known := s.outcomes[hash]
	s.mu.RUnlock()
	if known {
		return outcome
	}
	outcome = walk(document)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outcomes == nil || len(s.outcomes) >= mostSeen {
		s.outcomes = map[uint64]bool{}
	}
	s.outcomes[hash] = outcome
	return outcome
}
