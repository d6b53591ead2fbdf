package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const badManifest = `
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {bad: "true"}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: IMAGE
`

func (j *job) bad(t *testing.T, name, image string) {
	t.Helper()
	j.apply(t, strings.NewReplacer("NAME", name, "IMAGE", image).Replace(badManifest))
}

func (j *job) badInput(t *testing.T) {
	defer j.try("delete", "pods", "-l", "bad", "--now")
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := closed.Addr().String()
	closed.Close()
	j.bad(t, "missing", images.Address+"/web:none")
	j.bad(t, "down", down+"/web:v1")
	j.bad(t, "corrupt", images.Address+"/web:corrupt")
	j.bad(t, "crash", images.Address+"/web:crash")
	j.bad(t, "wrongname", "Not A Name")

	waiting := func(pod string, reasons ...string) {
		t.Helper()
		eventually(t, 60*time.Second, pod+" waits for "+strings.Join(reasons, " or "), func() error {
			got := j.get(t, "pod/"+pod, ".status.containerStatuses[0].state.waiting.reason")
			for _, r := range reasons {
				if got == r {
					return nil
				}
			}
			return fmt.Errorf("its reason is %q", got)
		})
	}
	describes := func(pod string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			eventually(t, 20*time.Second, "describe "+pod, func() error { return contains(j.run(t, "describe", "pod", pod), want) })
		}
	}
	waiting("missing", "ImagePullBackOff")
	describes("missing", `Failed to pull image "`+images.Address+`/web:none"`, "not found", "Back-off pulling image", images.Address)
	waiting("down", "ImagePullBackOff")
	describes("down", "connection refused", down)
	waiting("corrupt", "ErrImagePull", "ImagePullBackOff")
	describes("corrupt", "Failed to pull image")
	waiting("crash", "CrashLoopBackOff")
	describes("crash", "Back-off restarting failed container")
	if got := j.get(t, "pod/crash", ".status.containerStatuses[0].lastState.terminated.exitCode"); got != "3" {
		t.Errorf("the crashed container's exit code is %q", got)
	}
	waiting("wrongname", "InvalidImageName")

	web := j.one(t, "app=web")
	for _, c := range []struct {
		args  []string
		wants []string
	}{
		{[]string{"exec", web, "-c", "none", "--", "true"}, []string{"container not found", "none is not valid for pod " + web}},
		{[]string{"exec", web, "--", "/no/such/program"}, []string{"no such file or directory", "not found"}},
		{[]string{"exec", "nobody", "--", "true"}, []string{`pods "nobody" not found`}},
		{[]string{"logs", "crash", "-c", "none"}, []string{"container none is not valid for pod crash"}},
		{[]string{"get", "flowers"}, []string{`the server doesn't have a resource type "flowers"`}},
		{[]string{"create", "-f", "-"}, []string{"error parsing", "error converting YAML"}},
		{[]string{"scale", "deployment/none", "--replicas=1"}, []string{`deployments.apps "none" not found`}},
	} {
		cmd := exec.Command(filepath.Join(*binDir, "kubectl"), append([]string{"--kubeconfig", j.config}, c.args...)...)
		cmd.Stdin = strings.NewReader("a: b: c")
		out, err := cmd.CombinedOutput()
		said := false
		for _, want := range c.wants {
			said = said || strings.Contains(string(out), want)
		}
		if err == nil || !said {
			t.Errorf("kubectl %s: %v, says %q, want one of %q", strings.Join(c.args, " "), err, out, c.wants)
		}
	}
	invalid := exec.Command(filepath.Join(*binDir, "kubectl"), "--kubeconfig", j.config, "create", "-f", "-")
	invalid.Stdin = strings.NewReader(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"bad"},"spec":{"replicas":-1,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"c"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`)
	out, err := invalid.CombinedOutput()
	for _, want := range []string{`The Deployment "bad" is invalid`, "spec.replicas", "must be greater than or equal to 0", "`selector` does not match template `labels`"} {
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("an invalid Deployment: %v, %s lacks %q", err, out, want)
		}
	}
}

func TestStartingOnAMachineThatCannotSaysWhy(t *testing.T) {
	need(t, false, "kubus")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	foreign, other := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.tex"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(other, "version"), []byte("99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "config")
	for name, c := range map[string]struct {
		args  []string
		wants []string
	}{
		"a taken port is named with its owner":  {[]string{"--nodes", "0", "--listen", taken.Addr().String()}, []string{"is taken by process", fmt.Sprint(os.Getpid()), "--listen"}},
		"a directory of something else":         {[]string{"--nodes", "0", "--data-dir", foreign}, []string{"thesis.tex", "--data-dir"}},
		"a directory of another version":        {[]string{"--nodes", "0", "--data-dir", other}, []string{`"99"`, "version"}},
		"a listening address that is none":      {[]string{"--listen", "here"}, []string{"--listen here", "127.0.0.1:6443"}},
		"a range with bits beyond its prefix":   {[]string{"--pod-cidr", "10.0.0.1/16"}, []string{"did you mean 10.0.0.0/16"}},
		"ranges that overlap":                   {[]string{"--pod-cidr", "10.0.0.0/8", "--service-cidr", "10.96.0.0/16"}, []string{"overlap"}},
		"a node name that the API would refuse": {[]string{"--node-name", "Node_1"}, []string{"RFC 1123"}},
		"all that is wrong is told at once":     {[]string{"--listen", "x", "--nodes", "-1"}, []string{"--listen x", "--nodes -1"}},
		"a store that is no NATS":               {[]string{"--nodes", "0", "--store", "http://x"}, []string{"nats://"}},
		"a flag that does not exist":            {[]string{"--replicas", "3"}, []string{"unknown flag: --replicas"}},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"up", "--kubeconfig", config, "--data-dir", filepath.Join(t.TempDir(), "d")}, c.args...)
			out, err := command(20*time.Second, filepath.Join(*binDir, "kubus"), args...)
			if err == nil {
				t.Errorf("it started:\n%s", out)
			}
			for _, want := range c.wants {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not in %q", want, out)
				}
			}
		})
	}
	if _, err := os.Stat(config); !os.IsNotExist(err) {
		t.Errorf("a failed start wrote a kubeconfig: %v", err)
	}
}

func TestWithoutRootANodeIsRefusedAndTheToolsAreNamed(t *testing.T) {
	need(t, true, "kubus")
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	kubus := filepath.Join(dir, "kubus")
	if out, err := command(time.Minute, "cp", filepath.Join(*binDir, "kubus"), kubus); err != nil {
		t.Fatal(out)
	}
	for parent := dir; parent != "/tmp" && parent != "/"; parent = filepath.Dir(parent) {
		_ = os.Chmod(parent, 0o755|os.ModeSticky)
	}
	_ = os.Chmod(dir, 0o777)
	cmd := exec.Command(kubus, "up", "--data-dir", filepath.Join(dir, "d"), "--kubeconfig", filepath.Join(dir, "k"), "--listen", freeAddress(t))
	cmd.Env = []string{"PATH=" + dir, "HOME=" + dir}
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("it started:\n%s", out)
	}
	for _, want := range []string{"needs root", "--nodes 0", "runc is missing", "iptables", "apt-get install iptables", "make build"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in %q", want, out)
		}
	}
}
