package statelog

import (
	"context"
	crand "crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
)

// MaxObjectBytes is the largest object the log takes: etcd's request limit is not
// copied, the gateway's request limit of 3 MiB is the user's bound.
const MaxObjectBytes = 6 << 20

// Write is one change of one object.
type Write struct {
	Key proto.Key
	// Expect is the revision of the live version that is replaced; 0: there is none.
	Expect uint64
	// Data is the object's JSON without resourceVersion; the final state for a Delete.
	// The log keeps it: the caller must not change it afterwards.
	Data   []byte
	Delete bool
	// Strict makes the write of a new object (Expect is 0) depend on the subject's last
	// message as well: it must still be Since, as View.Last gave it before whatever this
	// write rests on was done. A tombstone that came in the meantime is a conflict then.
	Strict bool
	Since  uint64
	// First are committed before this write, or together with it; it is not made when
	// one of them fails, and the error is that one's. What was made of them stays: it is
	// the caller's to take back. Of the same stream, none of them with a First.
	First []Write
	// TTL makes the message expire; 0 keeps it. Tombstones expire by themselves.
	TTL time.Duration
}

// Log commits writes. There is one a process, and only gateways have the right.
// Safe for concurrent use.
type Log struct {
	conn     *bus.Conn
	views    *Views
	log      *zap.Logger
	writer   string
	replicas int
	quota    Quota

	committers map[string]*committer
	barriers   map[string]*barrier
	guards     map[string]*guard // none where the log is not signed
}

// OpenLog makes the state streams (with the given replicas at least) and a log over them.
// It ends with ctx: commits under way are finished, writes that wait are answered
// ErrUnavailable. The views must be unrestricted and of the same process.
func OpenLog(ctx context.Context, conn *bus.Conn, views *Views, replicas int, logger *zap.Logger) (*Log, error) {
	id := make([]byte, 6)
	if _, err := crand.Read(id); err != nil {
		return nil, fmt.Errorf("naming the writer: %w", err)
	}
	l := &Log{conn: conn, views: views, log: logger, writer: hex.EncodeToString(id), replicas: max(replicas, 1),
		committers: map[string]*committer{}, barriers: map[string]*barrier{}, guards: map[string]*guard{}}
	for _, s := range proto.StateStreams() {
		n, err := conn.EnsureStream(ctx, s, replicas)
		if err != nil {
			return nil, err
		}
		l.replicas = max(l.replicas, n)
	}
	if err := l.begin(ctx); err != nil {
		return nil, err
	}
	for _, s := range proto.StateStreams() {
		view := views.Stream(s)
		l.committers[s.Name] = newCommitter(ctx, l, view)
		l.barriers[s.Name] = &barrier{log: l, stream: s.Name}
		view.mu.Lock()
		view.prove = l.barriers[s.Name].store
		view.mu.Unlock()
	}
	if err := l.keepWatch(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// begin puts a first message into a stream that never had one: to clients the
// resourceVersion 0 of an empty list would mean any.
func (l *Log) begin(ctx context.Context) error {
	for _, s := range proto.StateStreams() {
		state, err := l.conn.StreamState(ctx, s.Name)
		if err != nil {
			return err
		}
		if state.LastSeq > 0 {
			continue
		}
		if err := l.first(ctx, s.Name); err != nil {
			return err
		}
	}
	return nil
}

// electFor is how long a stream that was just made on several servers may be without a leader.
const electFor = time.Minute

// first stores a stream's first message as soon as somebody leads it.
func (l *Log) first(ctx context.Context, stream string) error {
	ctx, cancel := context.WithTimeout(ctx, electFor)
	defer cancel()
	for {
		_, err := l.conn.PublishStream(ctx, proto.BarrierSubject(stream, l.writer), nil, nil)
		if !errors.Is(err, bus.ErrUnavailable) && !errors.Is(err, bus.ErrUnknownOutcome) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Views gives the views of this process.
func (l *Log) Views() *Views { return l.views }

// View gives the view that holds a resource.
func (l *Log) View(gr proto.GroupResource) *View { return l.views.For(gr) }

// Commit writes one object and returns its new revision once it is durable and
// this process's view shows it. Errors: *ConflictError, ErrUnavailable (nothing was written,
// unless it is ErrUnknown), ErrFenced, ErrAborted, ErrTooLarge, *QuotaError, or ctx's. A ctx that ends early leaves the outcome open.
func (l *Log) Commit(ctx context.Context, w Write) (uint64, error) {
	if len(w.Data) > MaxObjectBytes {
		return 0, fmt.Errorf("%s: %d bytes: %w", w.Key, len(w.Data), ErrTooLarge)
	}
	if err := l.room(&w); err != nil {
		return 0, err
	}
	if l.lostElsewhere(ctx, w.Key.GroupResource) {
		return 0, ErrFenced
	}
	if g := groupFrom(ctx); g != nil {
		return g.commit(ctx, l, w)
	}
	op := l.newOp(ctx, w)
	l.committers[proto.StreamFor(w.Key.GroupResource).Name].submit(op)
	return op.wait(ctx)
}

// Barrier gives a revision that is at least that of every write acknowledged, by
// any gateway, before the call; the view has reached it on return. It is the read
// index of a linearizable read. Calls that wait share one round trip.
func (l *Log) Barrier(ctx context.Context, gr proto.GroupResource) (uint64, error) {
	s := proto.StreamFor(gr)
	rev, err := l.barriers[s.Name].join(ctx)
	if err != nil {
		return 0, err
	}
	return rev, l.views.Stream(*s).WaitFor(ctx, rev)
}

// AcquireFence takes the fence for holder if its epoch still is epoch (0: never
// taken). It returns the fence as it then is; the caller holds it if Holder is its
// own and Epoch is new. Every earlier holder's fenced writes fail from here on.
func (l *Log) AcquireFence(ctx context.Context, name, holder string, epoch uint64) (Fence, error) {
	view := l.views.Stream(proto.StateStream)
	seq, err := l.putFence(ctx, view, name, holder, view.fenceAt(name, epoch))
	if err == nil {
		return Fence{Epoch: seq, Holder: holder}, view.WaitFor(ctx, seq)
	}
	if !errors.Is(err, bus.ErrWrongSequence) && !errors.Is(err, bus.ErrUnknownOutcome) && !errors.Is(err, bus.ErrBusy) {
		return Fence{}, unavailable(err)
	}
	if _, err := l.Barrier(ctx, proto.GroupResource{Resource: "namespaces"}); err != nil {
		return Fence{}, err
	}
	f := view.Fence(name)
	if f.Epoch == epoch {
		l.suspectFence(name) // it is at another sequence than the view says
	}
	return f, nil
}

// putFence writes who holds a fence, where the log has it at a sequence.
func (l *Log) putFence(ctx context.Context, view *View, name, holder string, at uint64) (uint64, error) {
	data, err := json.Marshal(Fence{Holder: holder})
	if err != nil {
		return 0, fmt.Errorf("fence %s: %w", name, err)
	}
	subject := proto.FenceSubject(name)
	header := bus.Header{bus.HeaderExpectLastSubjectSeq: {strconv.FormatUint(at, 10)}}
	if keys := view.keys(); keys != nil {
		keys.sign(subject, header, view.Revision(), data)
	}
	return l.conn.PublishStream(ctx, subject, data, header)
}

// FenceEpoch names the epoch under which writes are made.
type FenceEpoch struct {
	Name  string
	Epoch uint64
}

type fenceKey struct{}

// WithFence makes the writes of ctx fail with ErrFenced once the fence was taken anew.
func WithFence(ctx context.Context, f FenceEpoch) context.Context {
	return context.WithValue(ctx, fenceKey{}, f)
}

func fenceFrom(ctx context.Context) FenceEpoch {
	f, _ := ctx.Value(fenceKey{}).(FenceEpoch)
	return f
}

// op is a write on its way.
type op struct {
	Write
	subject   string
	first     []*op
	requestID uint64
	tried     uint64 // the sequence that the last attempt expected
	seen      uint64 // how far the view had come then
	fence     FenceEpoch
	done      chan struct{}
	revision  uint64
	err       error
}

func (l *Log) newOp(ctx context.Context, w Write) *op {
	o := &op{Write: w, subject: w.Key.Subject(), requestID: rand.Uint64() | 1, done: make(chan struct{})}
	if holdsFences(w.Key.GroupResource) {
		o.fence = fenceFrom(ctx)
	}
	for _, w := range w.First {
		o.first = append(o.first, l.newOp(ctx, w))
	}
	return o
}

// flatten lists writes with what comes before each.
func flatten(ops []*op) []*op {
	out := make([]*op, 0, len(ops))
	for _, o := range ops {
		out = append(append(out, o.first...), o)
	}
	return out
}

// holdsFences is true for the stream of the objects and the fences, the only one in
// which a commit and the check of its fence can be one batch.
func holdsFences(gr proto.GroupResource) bool { return proto.StreamFor(gr) == &proto.StateStream }

// lostElsewhere checks the fence of a write to another stream (Events, Leases) as far
// as this process knows: a deposed holder may still write there for the moment it
// takes the news to arrive.
func (l *Log) lostElsewhere(ctx context.Context, gr proto.GroupResource) bool {
	f := fenceFrom(ctx)
	return f != FenceEpoch{} && !holdsFences(gr) && l.views.Stream(proto.StateStream).Fence(f.Name).Epoch > f.Epoch
}

// strictNew says that the write stands on the absence of its object since a message.
func (o *op) strictNew() bool { return o.Strict && o.Expect == 0 }

func (o *op) finish(revision uint64, err error) {
	o.revision, o.err = revision, err
	close(o.done)
}

func (o *op) wait(ctx context.Context) (uint64, error) {
	select {
	case <-o.done:
		return o.revision, o.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (o *op) header(expect uint64) bus.Header {
	h := bus.Header{
		bus.HeaderExpectLastSubjectSeq: {strconv.FormatUint(expect, 10)},
		proto.HeaderRequestID:          {strconv.FormatUint(o.requestID, 16)},
	}
	switch {
	case o.Delete:
		h[proto.HeaderOperation] = []string{proto.OperationDelete}
		h[bus.HeaderTTL] = []string{proto.TombstoneTTL.String()}
	case o.Expect == 0:
		h[proto.HeaderOperation] = []string{proto.OperationCreate}
	}
	if !o.Delete && o.TTL > 0 {
		h[bus.HeaderTTL] = []string{o.TTL.String()}
	}
	return h
}

func (o *op) entry(revision uint64) *Entry {
	e := NewEntry(o.Key, revision, o.Data, o.Delete)
	e.requestID, e.created = o.requestID, !o.Delete && o.Expect == 0
	e.replaces, e.chained = o.tried, true
	return e
}

// unavailable is for a write that was not done, or of which nobody knows.
func unavailable(err error) error {
	if errors.Is(err, bus.ErrUnknownOutcome) {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// barrier lets many readers share one question for the log's end. A reader may
// use only an answer to a question asked after it came.
type barrier struct {
	log    *Log
	stream string

	mu      sync.Mutex
	running bool
	next    *barrierRound
}

type barrierRound struct {
	done     chan struct{}
	revision uint64
	err      error
}

func (b *barrier) join(ctx context.Context) (uint64, error) {
	b.mu.Lock()
	if b.next == nil {
		b.next = &barrierRound{done: make(chan struct{})}
	}
	round := b.next
	if !b.running {
		b.running = true
		go b.run()
	}
	b.mu.Unlock()
	select {
	case <-round.done:
		return round.revision, round.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (b *barrier) run() {
	for {
		b.mu.Lock()
		round := b.next
		b.next = nil
		if round == nil {
			b.running = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		round.revision, round.err = b.ask()
		close(round.done)
	}
}

// ask: one server's own answer is the truth; a cluster's may come from a deposed
// leader, so there only a stored message counts.
func (b *barrier) ask() (uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if b.log.replicas == 1 {
		state, err := b.log.conn.StreamState(ctx, b.stream)
		if err != nil {
			return 0, unavailable(err)
		}
		return state.LastSeq, nil
	}
	return b.store(ctx)
}

// storeAgain is after what time a message without an answer is stored once more.
const storeAgain = time.Second

// store stores a message. Where an answer was lost another one does as well.
func (b *barrier) store(ctx context.Context) (uint64, error) {
	for {
		once, cancel := context.WithTimeout(ctx, storeAgain)
		seq, err := b.log.conn.PublishStream(once, proto.BarrierSubject(b.stream, b.log.writer), nil, nil)
		late := once.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case err == nil:
			return seq, nil
		case !late:
			return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
}
