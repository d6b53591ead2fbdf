package usage

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
	protobuf "google.golang.org/protobuf/proto"

	"kubus.dev/proto"
)

// least is how long a reading stands: who asks again within it, as several metrics
// services do, is answered by the one before.
const least = time.Second

// Publisher sends core messages.
type Publisher interface {
	Publish(subject string, data []byte) error
}

// Sampler reads what the node uses. Safe for concurrent use.
type Sampler struct {
	node string
	of   Containers
	bus  Publisher
	log  *zap.Logger
	asks chan struct{}

	mu     sync.Mutex
	reader *reader
	last   *Reading // nil before the first
	before *Reading // the one before last, for rates
}

// New reads nothing before it is asked. log tells what cannot be published.
func New(node string, of Containers, bus Publisher, log *zap.Logger) *Sampler {
	return &Sampler{node: node, of: of, bus: bus, log: log, asks: make(chan struct{}, 1), reader: hostReader()}
}

// Ask has a reading published soon. It never blocks.
func (s *Sampler) Ask() {
	select {
	case s.asks <- struct{}{}:
	default: // one is on its way
	}
}

// Run publishes what is asked for until ctx ends.
func (s *Sampler) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.asks:
			s.publish()
		}
	}
}

func (s *Sampler) publish() {
	now, _, fresh := s.Readings()
	if !fresh {
		return
	}
	data, err := protobuf.Marshal(now.message())
	if err == nil {
		err = s.bus.Publish(proto.UsageSubject(s.node), data)
	}
	if err != nil {
		s.log.Debug("usage not published", zap.Error(err))
	}
}

// Readings gives the newest reading and the one before, nil for the first. It makes one
// unless the newest still stands; fresh says which.
func (s *Sampler) Readings() (now, before *Reading, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil || time.Since(s.last.At) >= least {
		s.before, s.last, fresh = s.last, read(s.reader, s.of), true
	}
	return s.last, s.before, fresh
}
