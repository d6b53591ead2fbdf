package device

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"
)

func socketIn(dir string) string { return filepath.Join(dir, filepath.Base(pluginapi.KubeletSocket)) }

// errServed: the folder is another's.
var errServed = errors.New("another agent, or a kubelet, serves there")

// Run takes registrations and follows plugins until ctx ends. Where the folder cannot be served the node has no devices
// of plugins, and a line of the log says why: everything else of the node goes on.
func (m *Manager) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	s := &server{m: m, ctx: ctx}
	g.Go(func() error {
		defer s.plugins.Wait()
		return m.serve(ctx, m.Dir, func(g *grpc.Server) { pluginapi.RegisterRegistrationServer(g, s) })
	})
	if m.PodDir != "" {
		g.Go(func() error {
			return m.serve(ctx, m.PodDir, func(g *grpc.Server) { podresources.RegisterPodResourcesListerServer(g, &lister{m: m}) })
		})
	}
	g.Go(func() error { m.expireAll(ctx); return nil })
	return g.Wait()
}

func (m *Manager) serve(ctx context.Context, dir string, register func(*grpc.Server)) error {
	ln, lock, err := listen(dir)
	if err != nil {
		m.Log.Warn("no device plugins", zap.String("path", dir), zap.Error(err))
		return nil
	}
	defer lock.Close()
	g := grpc.NewServer()
	register(g)
	stopped := context.AfterFunc(ctx, g.Stop)
	defer stopped()
	if err := g.Serve(ln); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serving %s: %w", dir, err)
	}
	return nil
}

// listen makes the socket. Plugins that run see that the old one, and theirs, are gone, and register anew.
func listen(dir string) (net.Listener, *os.File, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, nil, err
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if e.Type()&os.ModeSocket != 0 {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	var ln net.Listener
	if err == nil {
		ln, err = net.Listen("unix", socketIn(dir))
	}
	if err != nil {
		lock.Close()
		return nil, nil, err
	}
	return ln, lock, nil
}

// lockDir makes a folder ours, until the file is closed. A kubelet takes no lock, but answers.
func lockDir(dir string) (*os.File, error) {
	lock, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, errServed
	}
	if conn, err := net.DialTimeout("unix", socketIn(dir), time.Second); err == nil {
		conn.Close()
		lock.Close()
		return nil, errServed
	}
	return lock, nil
}

func (m *Manager) expireAll(ctx context.Context) {
	for {
		wait := goneAfter
		if next := m.expire(); !next.IsZero() {
			wait = max(next.Sub(m.now()), time.Second)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// server takes registrations.
type server struct {
	pluginapi.UnimplementedRegistrationServer
	m       *Manager
	ctx     context.Context // bounds the plugins that are followed
	plugins sync.WaitGroup
}

// Register implements the API.
func (s *server) Register(ctx context.Context, r *pluginapi.RegisterRequest) (*pluginapi.Empty, error) {
	if !slices.Contains(pluginapi.SupportedVersions[:], r.Version) {
		return nil, fmt.Errorf("requested API version %q is not supported by kubelet. Supported version is %q", r.Version, pluginapi.SupportedVersions)
	}
	if !extended(r.ResourceName) {
		return nil, fmt.Errorf("the ResourceName %q is invalid", r.ResourceName)
	}
	if !filepath.IsLocal(r.Endpoint) {
		return nil, fmt.Errorf("the endpoint %q is no name of a socket in %s", r.Endpoint, s.m.Dir)
	}
	p, err := connect(ctx, r.ResourceName, filepath.Join(s.m.Dir, r.Endpoint))
	if err != nil {
		return nil, err
	}
	if err := s.m.connected(p); err != nil {
		_ = p.conn.Close()
		return nil, err
	}
	s.m.Log.Info("device plugin registered", zap.String("name", r.ResourceName), zap.String("path", p.socket))
	s.plugins.Go(func() {
		err := p.watch(s.ctx, func(devices []*pluginapi.Device) { s.m.list(p, devices) })
		_ = p.conn.Close()
		if s.ctx.Err() == nil {
			s.m.Log.Warn("device plugin left", zap.String("name", r.ResourceName), zap.String("path", p.socket), zap.Error(err))
			s.m.left(p)
		}
	})
	return &pluginapi.Empty{}, nil
}

// extended tells names of resources that are not Kubernetes' own. Source: pkg/apis/core/v1/helper.
func extended(name string) bool {
	if !strings.Contains(name, "/") || strings.Contains(name, corev1.ResourceDefaultNamespacePrefix) || strings.HasPrefix(name, corev1.DefaultResourceRequestsPrefix) {
		return false
	}
	return len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+name)) == 0
}
