package chain

import (
	"bufio"
	"net"
	"net/http"
)

// answer passes a response on and remembers what became of it, for the metrics.
// Everything beyond writing is found behind Unwrap, or fails as the writer below fails.
type answer struct {
	http.ResponseWriter
	code  int
	bytes int
}

func (a *answer) WriteHeader(code int) {
	if a.code == 0 && code >= 200 || code == http.StatusSwitchingProtocols {
		a.code = code
	}
	a.ResponseWriter.WriteHeader(code)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.code == 0 {
		a.code = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(p)
	a.bytes += n
	return n, err
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Flush sends what was written.
func (a *answer) Flush() {
	if a.code == 0 {
		a.code = http.StatusOK
	}
	_ = http.NewResponseController(a.ResponseWriter).Flush() // a client that is gone is noticed by the next write
}

// Hijack takes the connection over: what comes back is no longer HTTP.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err == nil && a.code == 0 {
		a.code = http.StatusSwitchingProtocols
	}
	return conn, rw, err
}

// status is the code of the answer; a handler that wrote nothing meant 200.
func (a *answer) status() int {
	if a.code == 0 {
		return http.StatusOK
	}
	return a.code
}
