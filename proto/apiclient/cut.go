package apiclient

import (
	"errors"
	"net/http"
)

// ErrCut is what a handler means by panicking with http.ErrAbortHandler: the answer
// has begun and cannot be completed. Whoever reads it must not take it for whole.
var ErrCut = errors.New("the answer was cut short")

// serveAs runs a handler as net/http does: http.ErrAbortHandler ends the request and
// not the process, here as ErrCut. Any other panic is the handler's to recover.
func serveAs(s Server, user string, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		switch reason := recover(); reason {
		case nil:
		case http.ErrAbortHandler:
			err = ErrCut
		default:
			panic(reason)
		}
	}()
	s.ServeAs(user, w, r)
	return nil
}
