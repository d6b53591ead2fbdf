package flow

import (
	"bytes"
	"io"
	"net/http"
	"sync"
)

// bodies are the bodies of requests that wait. They are read before the wait: what is
// not read fills the window of its HTTP/2 connection, and those who have their turn on
// the same connection would get nothing. How much one user has waiting is bounded.
type bodies struct {
	ofOne, ofAll int // bytes

	mu   sync.Mutex
	held map[string]int
	all  int
}

func newBodies() *bodies {
	return &bodies{ofOne: 16 << 20, ofAll: 128 << 20, held: map[string]int{}}
}

// largestBody is what the handlers read at most, as upstream's.
const largestBody = 3 << 20

// hold reads a request's body into memory, or says that there is no room for it. The
// function gives the room back.
func (b *bodies) hold(r *http.Request, user string) (func(), error) {
	size := int(min(r.ContentLength, largestBody))
	switch {
	case r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 || r.GetBody != nil: // it is in memory
		return func() {}, nil
	case size < 0:
		size = largestBody
	}
	if !b.take(user, size) {
		return nil, errTooMany()
	}
	// One byte more than fits, so that the handler sees what it refuses.
	data, err := io.ReadAll(io.LimitReader(r.Body, largestBody+1))
	rest := r.Body
	if err != nil {
		rest = failed{r.Body, err}
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(data), rest), r.Body}
	return func() { b.give(user, size) }, nil
}

// failed is a body that could not be read further.
type failed struct {
	io.ReadCloser
	err error
}

func (f failed) Read([]byte) (int, error) { return 0, f.err }

func (b *bodies) take(user string, n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held[user]+n > b.ofOne || b.all+n > b.ofAll {
		return false
	}
	b.held[user] += n
	b.all += n
	return true
}

func (b *bodies) give(user string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all -= n
	if b.held[user] -= n; b.held[user] == 0 {
		delete(b.held, user)
	}
}
