package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"kubus.dev/proto"
)

// EnsureStream creates a stream, or corrects one whose settings differ. It never takes
// replicas away: a gateway that knows of fewer is not who decides on that. It gives the
// number that the stream has.
func (c *Conn) EnsureStream(ctx context.Context, s proto.Stream, replicas int) (int, error) {
	cfg := streamConfig(s, replicas)
	_, err := c.js.CreateStream(ctx, cfg)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		var there StreamState
		if there, err = c.StreamState(ctx, s.Name); err == nil {
			cfg = streamConfig(s, max(replicas, there.Replicas))
			_, err = c.js.UpdateStream(ctx, cfg)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("stream %s: %w", s.Name, err)
	}
	return cfg.Replicas, nil
}

// BeginStream makes a stream that is not there, whose first message will have a certain
// sequence. One that somebody else makes meanwhile is left as it is.
func (c *Conn) BeginStream(ctx context.Context, s proto.Stream, replicas int, first uint64) error {
	cfg := streamConfig(s, replicas)
	cfg.FirstSeq = first
	_, err := c.js.CreateStream(ctx, cfg)
	if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return fmt.Errorf("stream %s: %w", s.Name, err)
	}
	return nil
}

func streamConfig(s proto.Stream, replicas int) jetstream.StreamConfig {
	cfg := jetstream.StreamConfig{
		Name:        s.Name,
		Description: s.Description,
		Subjects:    s.Subjects,
		Storage:     jetstream.FileStorage,
		Replicas:    max(replicas, 1),
		MaxAge:      s.MaxAge,
		MaxBytes:    -1,
		Duplicates:  100 * time.Millisecond, // we recognise our own writes by header
	}
	if s.MaxBytes > 0 {
		cfg.MaxBytes = s.MaxBytes
	}
	cfg.MaxMsgs, cfg.MaxMsgSize = -1, -1
	if s.MaxMessages > 0 {
		cfg.MaxMsgs = s.MaxMessages
	}
	if s.MaxMessageBytes > 0 {
		cfg.MaxMsgSize = s.MaxMessageBytes
	}
	if s.MaxAge > 0 && cfg.Duplicates > s.MaxAge {
		cfg.Duplicates = s.MaxAge
	}
	if s.Memory {
		cfg.Storage = jetstream.MemoryStorage
	}
	if s.State {
		cfg.Discard = jetstream.DiscardNew
		cfg.DenyDelete = true
		cfg.DenyPurge = true
		cfg.AllowAtomicPublish = true
	}
	if s.State || s.LastPerSubject {
		cfg.AllowMsgTTL = true
		cfg.MaxMsgsPerSubject = 1
	}
	if s.Async && cfg.Replicas == 1 && !s.Memory {
		cfg.PersistMode = jetstream.AsyncPersistMode
	}
	return cfg
}

// KeepStream is EnsureStream until it succeeds or ctx ends, and again after the bus was
// away where the stream is in memory: it went with its server.
func (c *Conn) KeepStream(ctx context.Context, s proto.Stream, replicas int) error {
	err := c.awaitStream(ctx, s, replicas)
	if err == nil && s.Memory {
		c.OnReconnect(func() { _ = c.awaitStream(ctx, s, replicas) })
	}
	return err
}

func (c *Conn) awaitStream(ctx context.Context, s proto.Stream, replicas int) error {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		_, err := c.EnsureStream(ctx, s, replicas)
		if err == nil || ctx.Err() != nil {
			return err
		}
		c.log.Debug("making a stream", zap.String("stream", s.Name), zap.Error(err))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// StreamState is what the server says of a stream.
type StreamState struct {
	Messages uint64
	Bytes    uint64
	FirstSeq uint64
	LastSeq  uint64
	Replicas int
}

// StreamState asks for a stream's state. On one server the answer is the truth;
// on several it may come from a deposed leader.
func (c *Conn) StreamState(ctx context.Context, stream string) (StreamState, error) {
	ctx, cancel := c.asking(ctx)
	defer cancel()
	s, err := c.js.Stream(ctx, stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return StreamState{}, fmt.Errorf("stream %s: %w", stream, ErrNoStream)
	}
	if err != nil {
		return StreamState{}, fmt.Errorf("stream %s: %w", stream, err)
	}
	info := s.CachedInfo()
	return StreamState{
		Messages: info.State.Msgs, Bytes: info.State.Bytes,
		FirstSeq: info.State.FirstSeq, LastSeq: info.State.LastSeq, Replicas: info.Config.Replicas,
	}, nil
}

// Subjects counts the messages that a stream has on each subject that the filter matches.
func (c *Conn) Subjects(ctx context.Context, stream, filter string) (map[string]uint64, error) {
	s, err := c.js.Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", stream, err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, fmt.Errorf("subjects of stream %s: %w", stream, err)
	}
	return info.State.Subjects, nil
}

// StreamMsg is one stored message. Data is the receiver's to keep.
type StreamMsg struct {
	Subject string
	Header  Header
	Data    []byte
	Seq     uint64
	Time    time.Time
	Pending uint64 // how many more the stream holds for this consumer right now
}

// ConsumeOptions say what to consume.
type ConsumeOptions struct {
	Stream   string
	Subjects []string // none: all
	From     uint64   // the first sequence wanted; 0: the last message of each subject
	// Started is told, each time a consumer is made, how many messages wait for it.
	Started func(pending uint64)
	// Prefetch bounds the bytes that were asked for and not handed over; 0: 2,048 messages.
	Prefetch int
}

// Consume is ConsumeWith without a Started.
func (c *Conn) Consume(ctx context.Context, stream string, subjects []string, from uint64, h func(*StreamMsg)) error {
	return c.ConsumeWith(ctx, ConsumeOptions{Stream: stream, Subjects: subjects, From: from}, h)
}

// ConsumeWith hands over the messages of a stream in order and without gaps until
// ctx ends; h runs on one goroutine. from is the first sequence wanted; 0 starts
// with the last message of each subject. No subjects means all. Lost servers and
// missed messages are made good inside; only a ctx that ended is returned.
func (c *Conn) ConsumeWith(ctx context.Context, o ConsumeOptions, h func(*StreamMsg)) error {
	next := o.From
	for wait := 50 * time.Millisecond; ; {
		began := time.Now()
		err := c.consumeOnce(ctx, o, next, func(m *StreamMsg) {
			if m.Seq < next {
				return
			}
			next = m.Seq + 1
			h(m)
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(began) > 10*time.Second {
			wait = 50 * time.Millisecond
		}
		c.log.Warn("consumer ended, starting again", zap.String("stream", o.Stream), zap.Uint64("seq", next), zap.Error(err))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, 2*time.Second)
	}
}

// heartbeat is how often a server says that nothing came. A consumer may be on another server
// than the one that we are connected to, and only its silence, twice as long, tells that it died.
const heartbeat = 2 * time.Second

func (c *Conn) consumeOnce(ctx context.Context, o ConsumeOptions, from uint64, h func(*StreamMsg)) error {
	stream := o.Stream
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: o.Subjects, InactiveThreshold: time.Minute}
	if from == 0 {
		cfg.DeliverPolicy = jetstream.DeliverLastPerSubjectPolicy
		if len(o.Subjects) == 0 {
			cfg.FilterSubjects = []string{">"}
		}
	} else {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, from
	}
	cons, err := c.js.OrderedConsumer(ctx, stream, cfg)
	if err != nil {
		return fmt.Errorf("consuming %s: %w", stream, err)
	}
	if o.Started != nil {
		if info := cons.CachedInfo(); info != nil {
			o.Started(info.NumPending)
		}
	}
	var ahead jetstream.PullConsumeOpt = jetstream.PullMaxMessages(2048)
	if o.Prefetch > 0 {
		ahead = jetstream.PullMaxMessagesWithBytesLimit(2048, o.Prefetch)
	}
	ended := make(chan error, 1)
	run, err := cons.Consume(func(m jetstream.Msg) {
		meta, err := m.Metadata()
		if err != nil {
			return
		}
		h(&StreamMsg{Subject: m.Subject(), Header: m.Headers(), Data: m.Data(), Seq: meta.Sequence.Stream, Time: meta.Timestamp, Pending: meta.NumPending})
	}, ahead, jetstream.PullHeartbeat(heartbeat), jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
		if errors.Is(err, jetstream.ErrNoHeartbeat) || errors.Is(err, nats.ErrConnectionClosed) {
			c.log.Debug("consumer", zap.String("stream", stream), zap.Error(err))
			return
		}
		if errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrOrderedConsumerReset) {
			select {
			case ended <- err:
			default:
			}
		}
	}))
	if err != nil {
		return fmt.Errorf("consuming %s: %w", stream, err)
	}
	defer func() {
		run.Stop()
		<-run.Closed()
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-ended:
		return err
	case <-run.Closed():
		return errors.New("consumer closed")
	}
}

// LastOn gives the newest message of a subject, or nil. The answer may be stale
// while a cluster changes leaders.
func (c *Conn) LastOn(ctx context.Context, stream, subject string) (*StreamMsg, error) {
	ctx, cancel := c.asking(ctx)
	defer cancel()
	s, err := c.js.Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", stream, err)
	}
	m, err := s.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("last message of %s: %w", subject, err)
	}
	return &StreamMsg{Subject: m.Subject, Header: m.Header, Data: m.Data, Seq: m.Sequence, Time: m.Time}, nil
}

// FirstBehind gives the sequence of the first message behind another that is on one of
// the subjects (none: on any), 0 when there is none. As LastOn, it may be stale while a
// cluster changes leaders.
func (c *Conn) FirstBehind(ctx context.Context, stream string, subjects []string, seq uint64) (uint64, error) {
	ctx, cancel := c.asking(ctx)
	defer cancel()
	s, err := c.js.Stream(ctx, stream)
	if err != nil {
		return 0, fmt.Errorf("stream %s: %w", stream, err)
	}
	if len(subjects) == 0 {
		subjects = []string{">"}
	}
	first := uint64(0)
	for _, subject := range subjects {
		m, err := s.GetMsg(ctx, seq+1, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("the first message of %s behind %d: %w", subject, seq, err)
		}
		if first == 0 || m.Sequence < first {
			first = m.Sequence
		}
	}
	return first, nil
}

// PublishStream stores one message and gives its sequence once it is durable.
func (c *Conn) PublishStream(ctx context.Context, subject string, data []byte, header Header) (uint64, error) {
	ctx, cancel := c.asking(ctx)
	defer cancel()
	ack, err := c.js.PublishMsg(ctx, &nats.Msg{Subject: subject, Data: data, Header: header}, jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, classify(err)
	}
	return ack.Sequence, nil
}

// Pending is a publish on its way.
type Pending struct{ future jetstream.PubAckFuture }

// Wait gives the sequence once the message is durable, or the classified error:
// ErrNoAnswerYet after the timeout, behind which it may be called again.
func (p *Pending) Wait(ctx context.Context, timeout time.Duration) (uint64, error) {
	select { // where the time is over as well, an answer that is there counts
	case ack := <-p.future.Ok():
		return ack.Sequence, nil
	case err := <-p.future.Err():
		return 0, classify(err)
	default:
	}
	t := time.NewTimer(timeout)
	defer t.Stop()
	select {
	case ack := <-p.future.Ok():
		return ack.Sequence, nil
	case err := <-p.future.Err():
		return 0, classify(err)
	case <-t.C:
		return 0, ErrNoAnswerYet
	case <-ctx.Done():
		return 0, ErrUnknownOutcome
	}
}

// PublishAsync stores one message without waiting.
func (c *Conn) PublishAsync(subject string, data []byte, header Header) (*Pending, error) {
	f, err := c.js.PublishMsgAsync(&nats.Msg{Subject: subject, Data: data, Header: header}, jetstream.WithRetryAttempts(0))
	if err != nil {
		return nil, classify(err)
	}
	return &Pending{f}, nil
}

// BatchMsg is one message of an atomic batch.
type BatchMsg struct {
	Subject string
	Header  Header // expectations only; the batch headers are added
	Data    []byte
}

// PublishBatch stores the messages together or not at all (ADR-50), at most
// 1,000. The messages get consecutive sequences; last is that of the final one.
// Every message's expectation must hold; none may name a subject twice.
func (c *Conn) PublishBatch(ctx context.Context, id string, msgs []BatchMsg, timeout time.Duration) (last uint64, err error) {
	ctx, end := c.asking(ctx) // before the first message: all of them go to one server
	defer end()
	for i := range msgs {
		h := msgs[i].Header
		if h == nil {
			h = Header{}
		}
		h[HeaderBatchID] = []string{id}
		h[HeaderBatchSequence] = []string{strconv.Itoa(i + 1)}
		m := &nats.Msg{Subject: msgs[i].Subject, Header: h, Data: msgs[i].Data}
		if i+1 < len(msgs) {
			if err := c.nc.PublishMsg(m); err != nil {
				return 0, classify(err)
			}
			continue
		}
		h[HeaderBatchCommit] = []string{"1"}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		resp, err := c.nc.RequestMsgWithContext(ctx, m)
		if err != nil {
			return 0, classify(err)
		}
		return parseAck(resp.Data)
	}
	return 0, errors.New("empty batch")
}

// Expectation headers.
const (
	HeaderExpectLastSubjectSeq = "Nats-Expected-Last-Subject-Sequence"
	HeaderExpectSubject        = "Nats-Expected-Last-Subject-Sequence-Subject"
	HeaderTTL                  = "Nats-TTL"
	HeaderBatchID              = "Nats-Batch-Id"
	HeaderBatchSequence        = "Nats-Batch-Sequence"
	HeaderBatchCommit          = "Nats-Batch-Commit"
)
