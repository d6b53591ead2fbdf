package shim

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func pair(t *testing.T) (*Conn, *Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, err := NewConn(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewConn(fds[1])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestMessagesAndDescriptorsArriveTogether(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	long := strings.Repeat("x", 1<<20)
	sent := make(chan error, 2)
	go func() {
		sent <- a.Send(Request{Op: OpExec, ID: long}, int(w.Fd()))
		sent <- a.Send(Request{Op: OpSignal})
	}()
	var req Request
	fds, err := b.Recv(&req)
	if err != nil || len(fds) != 1 || req.ID != long {
		t.Fatalf("%v, %d descriptors, %d bytes", err, len(fds), len(req.ID))
	}
	w.Close()
	got := os.NewFile(uintptr(fds[0]), "got")
	if _, err := got.WriteString("through"); err != nil {
		t.Error(err)
	}
	got.Close()
	buf := make([]byte, 16)
	if n, err := r.Read(buf); err != nil || string(buf[:n]) != "through" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	req = Request{}
	if fds, err := b.Recv(&req); err != nil || len(fds) != 0 || req.Op != OpSignal {
		t.Errorf("second message: %+v, %v, %v", req, fds, err)
	}
	for range 2 {
		if err := <-sent; err != nil {
			t.Error(err)
		}
	}
}

func TestANonsenseLengthIsAnErrorNotAnAllocation(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	if _, err := a.file.Write([]byte{0xff, 0xff, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Recv(&Request{}); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("got %v", err)
	}
}
