package controllers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"kubus.dev/test/differential"
)

// Programs are the processes of a cluster that was started here.
type Programs struct {
	// Kubeconfig is the administrator's.
	Kubeconfig string

	dir     string
	running []*exec.Cmd
	last    func() // what is done when all have ended
}

// settings are what the two clusters must have in common: who schedules, when a node
// is lost, and that the loss of one does not wait for that of others.
var settings = fmt.Sprintf(`scheduler: {schedulerName: none}
controllers: {nodeGracePeriod: %[1]s, nodeStartGracePeriod: %[1]s, nodeEvictionRate: 100}
`, gracePeriod)

// StartKubus runs our control plane, all in one, with its data below dir.
func StartKubus(ctx context.Context, kubus, dir, listen string) (*Programs, error) {
	p := &Programs{Kubeconfig: filepath.Join(dir, "kubeconfig"), dir: dir}
	file, data := filepath.Join(dir, "settings.yaml"), filepath.Join(dir, "data")
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		return nil, err
	}
	p.last = func() {
		down := exec.Command(kubus, "down", "--data-dir", data, "--purge", "--yes")
		down.Stdout, down.Stderr = p.log("down"), p.log("down")
		_ = down.Run() // the log tells
	}
	err := p.start(kubus, "up", "--nodes", "0", "--settings", file, "--data-dir", data, "--listen", listen, "--kubeconfig", p.Kubeconfig, "--node-name", "differential")
	return p.await(ctx, err)
}

// StartUpstream runs etcd, kube-apiserver and kube-controller-manager of a folder on
// loopback ports from the one given on: the API's, the manager's, two of etcd's.
func StartUpstream(ctx context.Context, bin, dir string, port int) (*Programs, error) {
	keys, err := newAuthority(dir)
	if err != nil {
		return nil, err
	}
	if err := keys.all(); err != nil {
		return nil, err
	}
	api := fmt.Sprintf("https://127.0.0.1:%d", port)
	p := &Programs{dir: dir}
	if p.Kubeconfig, err = keys.kubeconfig("admin", api); err != nil {
		return nil, err
	}
	manager, err := keys.kubeconfig("manager", api)
	if err != nil {
		return nil, err
	}
	store, peer := fmt.Sprintf("http://127.0.0.1:%d", port+2), fmt.Sprintf("http://127.0.0.1:%d", port+3)
	err = p.start(filepath.Join(bin, "etcd"), "--data-dir", filepath.Join(dir, "etcd"), "--listen-client-urls", store, "--advertise-client-urls", store,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer, "--log-level", "warn", "--unsafe-no-fsync")
	if err == nil {
		err = p.start(filepath.Join(bin, "kube-apiserver"), "--etcd-servers", store, "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1",
			"--secure-port", strconv.Itoa(port), "--endpoint-reconciler-type", "none", "--tls-cert-file", dir+"/server.crt", "--tls-private-key-file", dir+"/server.key",
			"--client-ca-file", dir+"/ca.crt", "--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", dir+"/accounts.pub",
			"--service-account-signing-key-file", dir+"/accounts.key", "--service-cluster-ip-range", "10.96.0.0/16", "--authorization-mode", "Node,RBAC",
			"--enable-admission-plugins", "NodeRestriction", "--allow-privileged", "--max-requests-inflight", "3000", "--max-mutating-requests-inflight", "1000")
	}
	if p, err = p.await(ctx, err); err != nil {
		return nil, err
	}
	err = p.start(filepath.Join(bin, "kube-controller-manager"), "--kubeconfig", manager, "--bind-address", "127.0.0.1", "--secure-port", strconv.Itoa(port+1),
		"--root-ca-file", dir+"/ca.crt", "--service-account-private-key-file", dir+"/accounts.key", "--use-service-account-credentials",
		"--cluster-signing-cert-file", dir+"/ca.crt", "--cluster-signing-key-file", dir+"/ca.key", "--leader-elect=false",
		"--kube-api-qps", "5000", "--kube-api-burst", "5000", "--allocate-node-cidrs", "--cluster-cidr", "10.244.0.0/16", "--service-cluster-ip-range", "10.96.0.0/16",
		"--node-monitor-period", "1s", "--node-monitor-grace-period", gracePeriod.String(), "--node-startup-grace-period", gracePeriod.String(), "--node-eviction-rate", "100")
	if err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

func (p *Programs) log(name string) *os.File {
	f, err := os.OpenFile(filepath.Join(p.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil
	}
	return f
}

func (p *Programs) start(program string, args ...string) error {
	cmd := exec.Command(program, args...)
	out := p.log(filepath.Base(program))
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.running = append(p.running, cmd)
	return nil
}

// await waits until the API is ready; what has been started is stopped if it is not.
func (p *Programs) await(ctx context.Context, err error) (*Programs, error) {
	for deadline := time.Now().Add(90 * time.Second); err == nil; {
		if err = p.ready(ctx); err == nil {
			return p, nil
		}
		if ctx.Err() == nil && time.Now().Before(deadline) {
			err = nil
			time.Sleep(50 * time.Millisecond)
		}
	}
	p.Stop()
	return nil, fmt.Errorf("the cluster in %s does not become ready: %w", p.dir, err)
}

func (p *Programs) ready(ctx context.Context) error {
	server, err := differential.Connect(p.Kubeconfig)
	if err != nil {
		return err
	}
	resp, err := server.Do(ctx, "GET", "/readyz", "", nil)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// Stop ends all, the last first.
func (p *Programs) Stop() {
	for i := len(p.running) - 1; i >= 0; i-- {
		_ = p.running[i].Process.Signal(syscall.SIGTERM)
		_ = p.running[i].Wait() // it was told to end
	}
	p.running = nil
	if p.last != nil {
		p.last()
	}
}

// FreeAddress is one on loopback that nothing listens on.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
