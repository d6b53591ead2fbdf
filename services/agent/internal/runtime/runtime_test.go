package runtime

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestAContainerRunsLogsAndTellsItsEnd(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	s := n.pod(nil)
	if len(s.IPs) != 1 {
		t.Fatalf("addresses: %v", s.IPs)
	}
	id := n.run(s, img, "echo hello; echo oops >&2; hostname; echo $FROM_IMAGE; exit 3", nil)
	st := n.end(id)
	if st.ExitCode != 3 || st.Reason != ReasonError || st.FinishedAt.Before(st.StartedAt) {
		t.Errorf("status: %+v", st)
	}
	log := n.log(id)
	for _, want := range []string{" stdout F hello\n", " stderr F oops\n", " stdout F pod\n", " stdout F yes\n"} {
		if !strings.Contains(log, want) {
			t.Errorf("log lacks %q:\n%s", want, log)
		}
	}
	if err := n.RemoveSandbox(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	if left := n.Containers(s.ID); len(left) != 0 {
		t.Errorf("containers are left: %v", left)
	}
}

func TestExecGivesOutputInputAndExitCode(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	id := n.run(n.pod(nil), img, "sleep 1000", nil)
	if out, code := n.exec(id, "sh", "-c", "echo out; echo err >&2; exit 7"); out != "out\nerr\n" || code != 7 {
		t.Errorf("got %q, %d", out, code)
	}
	big := strings.Repeat("0123456789abcdef", 1<<16)
	var out bytes.Buffer
	code, err := n.Exec(t.Context(), id, ExecOptions{Command: []string{"cat"}, Stdin: strings.NewReader(big), Stdout: &out})
	if err != nil || code != 0 || out.String() != big {
		t.Errorf("cat of %d bytes gave %d bytes, %d, %v", len(big), out.Len(), code, err)
	}
	_, err = n.Exec(t.Context(), id, ExecOptions{Command: []string{"no-such-thing"}})
	if err == nil || !strings.Contains(err.Error(), "executable file not found") {
		t.Errorf("missing command: %v", err)
	}
	begin := time.Now()
	_, err = n.Exec(t.Context(), id, ExecOptions{Command: []string{"sh", "-c", "sleep 500 & sleep 500"}, Timeout: 100 * time.Millisecond})
	if err != ErrExecTimeout || time.Since(begin) > 3*time.Second {
		t.Errorf("timeout: %v after %s", err, time.Since(begin))
	}
	until(t, "the command that took too long is gone", func() bool { ps, _ := n.exec(id, "ps"); return !strings.Contains(ps, "sleep 500") })
	begin = time.Now()
	if out, code := n.exec(id, "sh", "-c", "sleep 50 & echo left"); out != "left\n" || code != 0 || time.Since(begin) > 3*time.Second {
		t.Errorf("a command that leaves a process behind: %q, %d after %s", out, code, time.Since(begin))
	}
}

func TestExecWithATerminal(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	id := n.run(n.pod(nil), img, "sleep 1000", nil)
	in, feed := io.Pipe()
	sizes := make(chan Size, 1)
	sizes <- Size{Width: 123, Height: 45}
	var out bytes.Buffer
	go func() {
		time.Sleep(200 * time.Millisecond) // the resize comes first
		_, _ = feed.Write([]byte("stty size; test -t 0 && echo tty; exit 5\n"))
	}()
	code, err := n.Exec(t.Context(), id, ExecOptions{Command: []string{"sh"}, TTY: true, Stdin: in, Stdout: &out, Resize: sizes})
	if err != nil || code != 5 {
		t.Fatalf("%d, %v", code, err)
	}
	if got := out.String(); !strings.Contains(got, "45 123\r\n") || !strings.Contains(got, "\r\ntty\r\n") {
		t.Errorf("terminal showed %q", got)
	}
}

func TestStopSendsTermThenKillsTheWholeCgroup(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	s := n.pod(nil)
	polite := n.run(s, img, "trap 'echo bye; exit 0' TERM; while true; do sleep 0.1; done", nil)
	until(t, "trap is set", func() bool { out, _ := n.exec(polite, "ps"); return strings.Contains(out, "sleep") })
	if err := n.StopContainer(t.Context(), polite, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if st := n.end(polite); st.ExitCode != 0 || !strings.Contains(n.log(polite), "bye") {
		t.Errorf("polite: %+v\n%s", st, n.log(polite))
	}
	rude := n.run(s, img, "trap '' TERM; sleep 1000 & while true; do sleep 0.1; done", nil)
	until(t, "its trap is set", func() bool { out, _ := n.exec(rude, "ps"); return strings.Contains(out, "sleep 1000") })
	begin := time.Now()
	if err := n.StopContainer(t.Context(), rude, 300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if st := n.end(rude); st.ExitCode != 137 || time.Since(begin) < 300*time.Millisecond {
		t.Errorf("rude: %+v after %s", st, time.Since(begin))
	}
}

func TestAStartThatFailsSaysWhyAndLeavesAnEndedContainer(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	s := n.pod(nil)
	id, err := n.CreateContainer(t.Context(), s.ID, ContainerSpec{Name: "x", Image: img.ID, Command: []string{"/no/such"}})
	if err != nil {
		t.Fatal(err)
	}
	err = n.StartContainer(t.Context(), id)
	if err == nil || !strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("error: %v", err)
	}
	if st := n.end(id); st.ExitCode != 128 || st.Reason != ReasonStart || st.Message != err.Error() {
		t.Errorf("status: %+v", st)
	}
	if err := n.RemoveContainer(t.Context(), id); err != nil {
		t.Error(err)
	}
}

func TestANewAgentFindsWhatRunsAndWhatEndedMeanwhile(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	s := n.pod(nil)
	stays := n.run(s, img, "echo before; sleep 1; echo after; sleep 1000", nil)
	ends := n.run(s, img, "sleep 0.3; echo last words; exit 42", nil)
	pid := func() int { st, _ := n.ContainerStatus(stays); return st.PID }
	before := pid()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // nobody is there when it ends
	n.open()
	if st, ok := n.ContainerStatus(ends); !ok || st.State != ContainerExited || st.ExitCode != 42 {
		t.Errorf("ended meanwhile: %+v", st)
	}
	if st, ok := n.ContainerStatus(stays); !ok || st.State != ContainerRunning || pid() != before {
		t.Errorf("still runs: %+v, pid was %d", st, before)
	}
	if !strings.Contains(n.log(ends), "last words") {
		t.Errorf("log: %s", n.log(ends))
	}
	until(t, "the log goes on", func() bool { return strings.Contains(n.log(stays), "after") })
	if sandboxes := n.Sandboxes(); len(sandboxes) != 1 || sandboxes[0].IPs[0] != s.IPs[0] || sandboxes[0].State != SandboxReady {
		t.Errorf("sandboxes: %+v", sandboxes)
	}
	if out, code := n.exec(stays, "echo", "adopted"); out != "adopted\n" || code != 0 {
		t.Errorf("exec after adoption: %q %d", out, code)
	}
}

func TestAKilledShimTakesItsContainersWithItAndIsNoticed(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	s := n.pod(nil)
	id := n.run(s, img, "sleep 1000", nil)
	st, _ := n.ContainerStatus(id)
	data, err := os.ReadFile(n.opts.sandboxDir(s.ID) + "/shim.pid")
	if err != nil {
		t.Fatal(err)
	}
	var shimPID int
	for _, d := range data {
		shimPID = shimPID*10 + int(d-'0')
	}
	if err := syscall.Kill(shimPID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if end := n.end(id); end.ExitCode != 137 || end.Reason != ReasonUnknown {
		t.Errorf("status: %+v", end)
	}
	until(t, "the process is gone", func() bool { return syscall.Kill(st.PID, 0) == syscall.ESRCH || zombie(st.PID) })
	if got := n.Sandboxes()[0].State; got != SandboxNotReady {
		t.Errorf("sandbox state %v", got)
	}
	if err := n.RemoveSandbox(t.Context(), s.ID); err != nil {
		t.Error(err)
	}
}

func zombie(pid int) bool {
	data, err := os.ReadFile("/proc/" + itoa(pid) + "/stat")
	return err == nil && strings.Contains(string(data), ") Z ")
}

func itoa(n int) string {
	var b []byte
	for ; n > 0; n /= 10 {
		b = append([]byte{byte('0' + n%10)}, b...)
	}
	return string(b)
}

func TestPodsReachEachOtherAndTheNode(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	server := n.pod(nil)
	n.run(server, img, "mkdir -p /tmp/w; echo served > /tmp/w/index.html; httpd -f -p 80 -h /tmp/w", func(c *ContainerSpec) {
		c.Command[2] = strings.Replace(c.Command[2], "mkdir -p", "busybox mkdir -p", 1)
	})
	client := n.run(n.pod(nil), img, "sleep 1000", nil)
	until(t, "pod to pod", func() bool {
		out, _ := n.exec(client, "wget", "-q", "-O", "-", "http://"+server.IPs[0]+"/")
		return strings.Contains(out, "served")
	})
	for _, addresses := range [][]string{nil, server.IPs} {
		a, b := io.Pipe()
		var got bytes.Buffer
		go func() { _, _ = b.Write([]byte("GET / HTTP/1.0\r\n\r\n")) }()
		err := n.PortForward(t.Context(), server.ID, addresses, 80, &pipeConn{a, &got})
		if err != nil || !strings.Contains(got.String(), "served") {
			t.Errorf("port-forward to %v: %v, %q", addresses, err, got.String())
		}
	}
}

type pipeConn struct {
	*io.PipeReader
	out *bytes.Buffer
}

func (p *pipeConn) Write(b []byte) (int, error) { return p.out.Write(b) }

func TestAttachSeesOutputAndFeedsInput(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	id := n.run(n.pod(nil), img, "while read line; do echo got $line; done; echo end", func(c *ContainerSpec) { c.Stdin, c.StdinOnce = true, true })
	var out bytes.Buffer
	if err := n.Attach(t.Context(), id, AttachOptions{Stdin: strings.NewReader("one\ntwo\n"), Stdout: &out}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "got one\ngot two\nend\n" {
		t.Errorf("attached output: %q", got)
	}
	if st := n.end(id); st.ExitCode != 0 {
		t.Errorf("status: %+v", st)
	}
}

func TestTheEndOfInputDetachesFromAContainerThatKeepsItsOwn(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	for name, tty := range map[string]bool{"a pipe": false, "a terminal": true} {
		t.Run(name, func(t *testing.T) {
			id := n.run(n.pod(nil), img, "while read line; do echo got $line; done; echo end", func(c *ContainerSpec) { c.Stdin, c.TTY = true, tty })
			for _, line := range []string{"one", "two"} {
				if err := n.Attach(t.Context(), id, AttachOptions{Stdin: strings.NewReader(line + "\n"), Stdout: io.Discard}); err != nil {
					t.Fatal(err)
				}
				until(t, "the container has read "+line, func() bool { return strings.Contains(n.log(id), "got "+line) })
			}
			if strings.Contains(n.log(id), "end") {
				t.Errorf("its input has ended: %s", n.log(id))
			}
		})
	}
}

func TestAnOutOfMemoryKillIsTold(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	id := n.run(n.pod(nil), img, "dd if=/dev/zero of=/dev/null bs=200M count=1", func(c *ContainerSpec) { c.Resources.MemoryLimit = 32 << 20 })
	if st := n.end(id); st.Reason != ReasonOOMKilled || st.ExitCode != 137 {
		t.Errorf("status: %+v", st)
	}
}

func TestUsersAreThoseOfTheImage(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	s := n.pod(nil)
	uid := int64(1000)
	for name, security := range map[string]Security{"by name": {RunAsUserName: "web"}, "by number": {RunAsUser: &uid}} {
		id := n.run(s, img, "id", func(c *ContainerSpec) { c.Security = security })
		n.end(id)
		if log := n.log(id); !strings.Contains(log, "uid=1000(web) gid=1001(web) groups=1001(web),2000(extra)") {
			t.Errorf("%s: %s", name, log)
		}
	}
}

func TestAPodMayShareItsProcesses(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	s := n.pod(func(s *SandboxSpec) { s.ShareProcessNamespace = true })
	n.run(s, img, "sleep 4321", nil)
	other := n.run(s, img, "sleep 1000", nil)
	if out, _ := n.exec(other, "ps"); !strings.Contains(out, "sleep 4321") {
		t.Errorf("ps shows:\n%s", out)
	}
}

func TestRuntimeDefaultSeccompRefusesMounts(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	s := n.pod(nil)
	id := n.run(s, img, "busybox unshare -m true || echo refused; ping -c 1 127.0.0.1 >/dev/null && echo fine", func(c *ContainerSpec) {
		c.Security = Security{Seccomp: SeccompRuntimeDefault, NoNewPrivs: true}
	})
	n.end(id)
	if log := n.log(id); !strings.Contains(log, "F refused") || !strings.Contains(log, "F fine") {
		t.Errorf("log: %s", log)
	}
}

func TestAPodMayMeetItsOwnPackets(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	port := freePort(t)
	s := n.pod(func(s *SandboxSpec) {
		s.PortMappings = []PortMapping{{HostPort: port, ContainerPort: 80, Protocol: "TCP"}}
	})
	id := n.run(s, img, "busybox mkdir -p /tmp/w; echo served > /tmp/w/index.html; httpd -f -p 80 -h /tmp/w", nil)
	until(t, "the pod reaches itself by the node", func() bool {
		out, _ := n.exec(id, "wget", "-q", "-O", "-", fmt.Sprintf("http://%s:%d/", gatewayOf(s), port))
		return strings.Contains(out, "served")
	})
}
