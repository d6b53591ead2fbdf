package shutdown

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"go.uber.org/zap/zaptest"

	"kubus.dev/services/kit/kittest"
)

// fakeLogind is a logind on a bus of the test's own. Each lock is a pipe, of which it keeps the end that sees the other
// being closed, and, until the test lets go of it, a copy of the other.
type fakeLogind struct {
	conn  *dbus.Conn
	locks chan lock
	asked chan []string
}

type lock struct{ seen, sent *os.File }

// Inhibit implements the call.
func (f *fakeLogind) Inhibit(what, who, why, mode string) (dbus.UnixFD, *dbus.Error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	f.locks <- lock{r, w}
	f.asked <- []string{what, who, why, mode}
	return dbus.UnixFD(w.Fd()), nil
}

// ownBus starts a bus with a logind on it and gives its address.
func ownBus(t *testing.T) (string, *fakeLogind) {
	t.Helper()
	daemon, err := exec.LookPath("dbus-daemon")
	if err != nil {
		kittest.Lack(t, "dbus-daemon")
	}
	dir, err := os.MkdirTemp("", "bus")
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "bus.conf")
	text := `<busconfig><type>system</type><listen>unix:path=` + filepath.Join(dir, "socket") + `</listen><auth>EXTERNAL</auth>
		<policy context="default"><allow send_destination="*"/><allow own="*"/><allow receive_sender="*"/></policy></busconfig>`
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(daemon, "--config-file="+config, "--nofork", "--print-address")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		os.RemoveAll(dir)
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address = strings.TrimSpace(address)
	f := &fakeLogind{locks: make(chan lock, 4), asked: make(chan []string, 4)}
	if f.conn, err = dbus.Connect(address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.conn.Close() })
	if err := f.conn.Export(f, logindPath, logindIface); err != nil {
		t.Fatal(err)
	}
	if reply, err := f.conn.RequestName(logindName, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(reply, err)
	}
	return address, f
}

// given waits until a lock that has arrived is given back.
func given(t *testing.T, l lock) {
	t.Helper()
	l.sent.Close()
	if n, err := l.seen.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("a lock: %d, %v", n, err)
	}
	l.seen.Close()
}

func TestTheMachineWaitsForPods(t *testing.T) {
	t.Parallel()
	address, logind := ownBus(t)
	began, end, cancelled := make(chan bool), make(chan bool), make(chan bool)
	w := &Watcher{Log: zaptest.NewLogger(t), Begin: func(context.Context) { began <- true; <-end }, Cancelled: func() { cancelled <- true },
		connect: func(ctx context.Context) (*dbus.Conn, error) { return dbus.Connect(address, dbus.WithContext(ctx)) }}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	first := <-logind.locks
	if got := strings.Join(<-logind.asked, "; "); got != "shutdown; kubelet; Kubelet needs time to handle node shutdown; delay" {
		t.Errorf("asked for %s", got)
	}
	tell := func(begins bool) {
		t.Helper()
		if err := logind.conn.Emit(logindPath, logindIface+"."+logindSignal, begins); err != nil {
			t.Fatal(err)
		}
	}
	tell(true)
	<-began // the lock is held until the pods have ended
	end <- true
	given(t, first)
	tell(false)
	<-cancelled
	tell(true)
	<-began
	end <- true
	given(t, <-logind.locks)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
