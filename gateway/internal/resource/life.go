package resource

import "sync"

// life tells when a kind has left the table. Its zero value is alive.
type life struct {
	mu    sync.Mutex
	gone  chan struct{} // made at the first question
	ended bool
	after []func()
}

// Gone is closed when the kind has left the table: it is served no more, or by
// another Kind. Watches end then.
func (k *Kind) Gone() <-chan struct{} {
	l := &k.life
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone == nil {
		l.gone = make(chan struct{})
		if l.ended {
			close(l.gone)
		}
	}
	return l.gone
}

// AfterGone calls fn when the kind leaves the table; at once when it has left.
func (k *Kind) AfterGone(fn func()) {
	l := &k.life
	l.mu.Lock()
	ended := l.ended
	if !ended {
		l.after = append(l.after, fn)
	}
	l.mu.Unlock()
	if ended {
		fn()
	}
}

func (k *Kind) leave() {
	l := &k.life
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return
	}
	l.ended = true
	if l.gone != nil {
		close(l.gone)
	}
	after := l.after
	l.after = nil
	l.mu.Unlock()
	for _, fn := range after {
		fn()
	}
}

// PerKind keeps a value that is made of a kind at its first use, until the kind
// leaves the table. The zero value is ready. Safe for concurrent use.
type PerKind[T any] struct {
	kept sync.Map // *Kind → func() T
}

// Of gives the kind's value; make is called once a kind.
func (p *PerKind[T]) Of(k *Kind, make func() T) T {
	if v, ok := p.kept.Load(k); ok {
		return v.(func() T)()
	}
	once := sync.OnceValue(make)
	v, loaded := p.kept.LoadOrStore(k, once)
	if !loaded {
		k.AfterGone(func() { p.kept.Delete(k) })
	}
	return v.(func() T)()
}
