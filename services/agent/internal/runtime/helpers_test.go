package runtime

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"go.uber.org/zap/zaptest"

	"kubus.dev/services/agent/internal/layertest"
	"kubus.dev/services/kit/kittest"
)

// needTool finds a program in the repository's bin folder or in PATH.
func needTool(t testing.TB, tool string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../../../bin", tool))
	if err == nil {
		if _, err = os.Stat(path); err == nil {
			return path
		}
	}
	if path, err = exec.LookPath(tool); err != nil {
		kittest.Lack(t, tool)
	}
	return path
}

// shimProgram builds the shim once for all tests.
var shimProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "kubus-shim-test")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "kubus-shim")
	cmd := exec.Command("go", "build", "-o", path, "kubus.dev/services/agent/cmd/kubus-shim")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the shim: %w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := shimProgram(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// testNode is a Runtime with folders, names and a network of its own; everything is gone after the test.
type testNode struct {
	*Node
	t    testing.TB
	opts Options
}

var testCount int

func newTestNode(t testing.TB) *testNode {
	t.Helper()
	kittest.NeedRoot(t)
	shim, err := shimProgram()
	if err != nil {
		t.Fatal(err)
	}
	testCount++
	instance := fmt.Sprintf("test-%d-%d", os.Getpid(), testCount)
	n := &testNode{t: t, opts: Options{DataDir: t.TempDir(), RunDir: filepath.Join("/run", "kubus-"+instance), Instance: instance,
		Runc: needTool(t, "runc"), Shim: shim, Logger: zaptest.NewLogger(t)}}
	t.Cleanup(func() {
		if n.Node != nil {
			n.Node.Close()
		}
		if err := Purge(context.Background(), n.opts); err != nil {
			t.Errorf("purge: %v", err)
		}
		checkNothingLeft(t, n.opts)
	})
	n.open()
	cidr := fmt.Sprintf("10.%d.%d.0/24", 200+os.Getpid()%40, testCount%250)
	if err := n.SetPodCIDR(t.Context(), cidr); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *testNode) open() {
	n.t.Helper()
	node, err := New(n.t.Context(), n.opts)
	if err != nil {
		n.t.Fatal(err)
	}
	n.Node = node
}

func checkNothingLeft(t testing.TB, opts Options) {
	t.Helper()
	mounts, _ := os.ReadFile("/proc/mounts")
	for _, dir := range []string{opts.RunDir, opts.DataDir} {
		if strings.Contains(string(mounts), dir) {
			t.Errorf("a mount below %s is left", dir)
		}
	}
	if _, err := os.Stat(opts.RunDir); err == nil {
		t.Errorf("%s is left", opts.RunDir)
	}
	for _, dir := range []string{"memory", "pids", "unified", "."} {
		if _, err := os.Stat(filepath.Join("/sys/fs/cgroup", dir, "kubus-"+opts.Instance)); err == nil {
			t.Errorf("a cgroup is left in %s", dir)
		}
	}
	out, _ := exec.Command("iptables-save").Output()
	if i := strings.Index(string(out), "KUBUS-MASQ-"); i >= 0 && strings.Contains(string(out), opts.Instance) {
		t.Errorf("iptables rules are left: %s", out[i:])
	}
	program, _ := shimProgram()
	until(t, "no shim and no init is left", func() bool { return !running(program) })
}

// running tells whether a process runs the program, whatever it calls itself.
func running(program string) bool {
	procs, _ := os.ReadDir("/proc")
	for _, p := range procs {
		if exe, err := os.Readlink(filepath.Join("/proc", p.Name(), "exe")); err == nil && exe == program {
			return true
		}
	}
	return false
}

// busybox serves an image with a static busybox from a registry on loopback and returns its reference.
func busybox(t testing.TB) string {
	t.Helper()
	image := busyboxImage(t)
	return push(t, image, "library/busybox:1")
}

func push(t testing.TB, image v1.Image, repo string) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	ref := strings.TrimPrefix(server.URL, "http://") + "/" + repo
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(parsed, image); err != nil {
		t.Fatal(err)
	}
	return ref
}

func busyboxImage(t testing.TB) v1.Image {
	t.Helper()
	path := needTool(t, "busybox")
	binary, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	items := []layertest.Item{layertest.Dir("bin/"), layertest.Dir("etc/"), layertest.Dir("tmp/"), layertest.Dir("root/"),
		layertest.Program("bin/busybox", string(binary))}
	for _, applet := range []string{"sh", "sleep", "cat", "echo", "id", "true", "false", "ls", "hostname", "ps", "kill", "nc", "wget",
		"ip", "dd", "env", "pwd", "touch", "test", "seq", "stty", "tail", "head", "mount", "httpd", "ping", "yes", "md5sum"} {
		items = append(items, layertest.Symlink("bin/"+applet, "busybox"))
	}
	items = append(items, layertest.File("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/tmp:/bin/sh\n"),
		layertest.File("etc/group", "root:x:0:\nweb:x:1001:\nextra:x:2000:web\n"))
	blob := layertest.Archive(t, items...)
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(blob)), nil })
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	config.Config.Cmd, config.Config.Env = []string{"sh"}, []string{"FROM_IMAGE=yes"}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	return image
}

func (n *testNode) pull(ref string) *Image {
	n.t.Helper()
	img, err := n.PullImage(n.t.Context(), ref, nil, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	return img
}

func (n *testNode) pod(change func(*SandboxSpec)) *Sandbox {
	n.t.Helper()
	spec := SandboxSpec{PodUID: newID()[:12], Namespace: "default", Name: "pod", Hostname: "pod", LogDir: n.t.TempDir()}
	if change != nil {
		change(&spec)
	}
	s, err := n.RunSandbox(n.t.Context(), spec)
	if err != nil {
		n.t.Fatal(err)
	}
	return s
}

// run creates and starts a container that runs a shell script.
func (n *testNode) run(s *Sandbox, img *Image, script string, change func(*ContainerSpec)) string {
	n.t.Helper()
	spec := ContainerSpec{Name: "c", Image: img.ID, Command: []string{"sh", "-c", script}, LogPath: filepath.Join(n.t.TempDir(), "0.log")}
	if change != nil {
		change(&spec)
	}
	id, err := n.CreateContainer(n.t.Context(), s.ID, spec)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.StartContainer(n.t.Context(), id); err != nil {
		n.t.Fatal(err)
	}
	return id
}

// end waits until a container has ended.
func (n *testNode) end(id string) ContainerStatus {
	n.t.Helper()
	c, err := n.container(id)
	if err != nil {
		n.t.Fatal(err)
	}
	select {
	case <-c.ended:
	case <-time.After(15 * time.Second):
		n.t.Fatalf("container %s does not end", id)
	}
	st, _ := n.ContainerStatus(id)
	return *st
}

func (n *testNode) log(id string) string {
	n.t.Helper()
	st, _ := n.ContainerStatus(id)
	data, err := os.ReadFile(st.LogPath)
	if err != nil {
		n.t.Fatal(err)
	}
	return string(data)
}

func (n *testNode) exec(id string, command ...string) (string, int) {
	n.t.Helper()
	var out, errs bytes.Buffer
	code, err := n.Exec(n.t.Context(), id, ExecOptions{Command: command, Stdout: &out, Stderr: &errs})
	if err != nil {
		n.t.Fatalf("exec %v: %v", command, err)
	}
	return out.String() + errs.String(), code
}

// until waits for a condition.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if cond() {
			return
		}
	}
	t.Fatalf("timed out: %s", what)
}
