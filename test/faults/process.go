package faults

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a program that the test starts, kills and starts again. It ends with the
// test, and with the test's own process.
type process struct {
	t       testing.TB
	name    string
	args    []string
	log     string
	healthy func() error

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{}
}

// launch makes a process and starts it.
func launch(t testing.TB, name, dir string, healthy func() error, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, args: args, log: filepath.Join(dir, name+".log"), healthy: healthy}
	p.start()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s wrote at the end:\n%s", name, tail(p.log, 4<<10))
		}
	})
	return p
}

// start runs the program; it does not wait until it is healthy.
func (p *process) start() {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("starting %s: %v", p.name, err)
	}
	ended := make(chan struct{})
	go func() { // ends with the process
		_ = cmd.Wait()
		close(ended)
	}()
	p.mu.Lock()
	p.cmd, p.ended = cmd, ended
	p.mu.Unlock()
}

// kill ends it as kill -9 does, and returns when it is gone.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	<-ended
}

func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.cmd.Process.Signal(s)
}

// wait returns when it is healthy.
func (p *process) wait() {
	p.t.Helper()
	eventually(p.t, time.Minute, p.name+" is healthy", p.healthy)
}

// restart is kill and start.
func (p *process) restart() {
	p.t.Helper()
	p.kill()
	p.start()
}

// eventually waits for a condition.
func eventually(t testing.TB, limit time.Duration, what string, done func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = done(); err == nil {
			return
		}
	}
	t.Fatalf("not within %v: %s: %v", limit, what, err)
}

// answers asks for a page and wants 200.
func answers(client *http.Client, url string) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", url, resp.Status, body)
	}
	return nil
}

func tail(file string, most int) []byte {
	data, _ := os.ReadFile(file)
	if len(data) > most {
		data = data[len(data)-most:]
	}
	return bytes.TrimSpace(data)
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
