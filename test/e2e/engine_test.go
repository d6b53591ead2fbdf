package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// engine is a container engine of the test's own: nothing of it is anywhere but below its
// folder, and it makes no rules.
type engine struct {
	dir string
	cmd *exec.Cmd
	env []string // of whoever speaks to it
}

// startEngine starts Debian's docker.io.
func startEngine(t *testing.T) *engine {
	t.Helper()
	for _, program := range []string{"dockerd", "docker", "docker-compose"} {
		if _, err := exec.LookPath(program); err != nil {
			if promised() {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	forwarding := "/proc/sys/net/ipv4/ip_forward"
	before, err := os.ReadFile(forwarding)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "kubus-engine-") // not t.TempDir: the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{dir: dir, env: append(os.Environ(), "DOCKER_HOST=unix://"+filepath.Join(dir, "sock"))}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	args := []string{
		"--host", "unix://" + filepath.Join(dir, "sock"), "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "--bridge=none", "--iptables=false", "--ip6tables=false", "--default-cgroupns-mode=private",
	}
	if lacks(t, capSysResource) {
		args = append(args, "--add-runtime=lesser="+lesser(t, dir), "--default-runtime=lesser")
	}
	e.cmd = exec.Command("dockerd", args...)
	e.cmd.Stdout, e.cmd.Stderr = log, log
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is ours to pass on
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = e.cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		if t.Failed() {
			data, _ := os.ReadFile(log.Name())
			t.Logf("the engine:\n%s", lastBytes(string(data), 4000))
		}
		_ = e.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Error("the engine does not end")
			_ = e.cmd.Process.Kill()
		}
		_ = os.WriteFile(forwarding, before, 0o644)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	eventually(t, time.Minute, "the engine answers", func() error {
		_, err := e.docker("version")
		return err
	})
	return e
}

// docker runs the engine's command.
func (e *engine) docker(args ...string) (string, error) {
	return e.run(5*time.Minute, "docker", args...)
}

func (e *engine) run(limit time.Duration, program string, args ...string) (string, error) {
	out, err := commandIn(e.env, limit, program, args...)
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, lastBytes(out, 3000))
	}
	return out, err
}

const capSysResource = 24

// lacks tells whether root on this machine lacks a capability.
func lacks(t *testing.T, capability uint) bool {
	t.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "CapBnd:")
	bounding, err := strconv.ParseUint(strings.Fields(rest)[0], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return bounding>>capability&1 == 0
}

// lesser is a runtime that does not give what this machine does not have: an engine gives
// privileged containers every capability, which the kernel then refuses.
func lesser(t *testing.T, dir string) string {
	t.Helper()
	path, err := exec.LookPath("runc")
	if err != nil {
		t.Fatal(err)
	}
	script := `#!/bin/sh
for argument; do
	[ ! -f "$argument/config.json" ] || sed -i 's/,"CAP_SYS_RESOURCE"//g; s/"CAP_SYS_RESOURCE",//g' "$argument/config.json"
done
exec ` + path + ` "$@"
`
	file := filepath.Join(dir, "lesser")
	if err := os.WriteFile(file, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}
