package device

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// fakePlugin is a device plugin over its real socket.
type fakePlugin struct {
	pluginapi.UnimplementedDevicePluginServer
	dir, resource string
	options       *pluginapi.DevicePluginOptions
	lists         chan []*pluginapi.Device
	server        *grpc.Server

	mu        sync.Mutex
	allocated [][]string
	started   [][]string
	refuse    error
	held      chan struct{} // until it is closed Allocate does not answer
}

// startPlugin serves name.sock; it registers with register.
func startPlugin(t *testing.T, dir, resource, name string, options *pluginapi.DevicePluginOptions, devices ...*pluginapi.Device) *fakePlugin {
	t.Helper()
	p := &fakePlugin{dir: dir, resource: resource, options: options, lists: make(chan []*pluginapi.Device, 8), server: grpc.NewServer()}
	p.lists <- devices
	pluginapi.RegisterDevicePluginServer(p.server, p)
	ln, err := net.Listen("unix", filepath.Join(dir, name+".sock"))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.server.Serve(ln) }() // ends with Stop
	t.Cleanup(p.server.Stop)
	return p
}

func register(t *testing.T, dir string, r *pluginapi.RegisterRequest) error {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+socketIn(dir), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = pluginapi.NewRegistrationClient(conn).Register(t.Context(), r, grpc.WaitForReady(true))
	return err
}

func (p *fakePlugin) GetDevicePluginOptions(context.Context, *pluginapi.Empty) (*pluginapi.DevicePluginOptions, error) {
	return p.options, nil
}

func (p *fakePlugin) ListAndWatch(_ *pluginapi.Empty, s grpc.ServerStreamingServer[pluginapi.ListAndWatchResponse]) error {
	for {
		select {
		case <-s.Context().Done():
			return nil
		case list := <-p.lists:
			if err := s.Send(&pluginapi.ListAndWatchResponse{Devices: list}); err != nil {
				return err
			}
		}
	}
}

func (p *fakePlugin) GetPreferredAllocation(_ context.Context, r *pluginapi.PreferredAllocationRequest) (*pluginapi.PreferredAllocationResponse, error) {
	all := r.ContainerRequests[0].AvailableDeviceIDs // the last ones
	return &pluginapi.PreferredAllocationResponse{ContainerResponses: []*pluginapi.ContainerPreferredAllocationResponse{
		{DeviceIDs: all[len(all)-int(r.ContainerRequests[0].AllocationSize):]}}}, nil
}

func (p *fakePlugin) Allocate(ctx context.Context, r *pluginapi.AllocateRequest) (*pluginapi.AllocateResponse, error) {
	p.mu.Lock()
	held := p.held
	p.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse != nil {
		return nil, p.refuse
	}
	ids := r.ContainerRequests[0].DevicesIds
	p.allocated = append(p.allocated, ids)
	return &pluginapi.AllocateResponse{ContainerResponses: []*pluginapi.ContainerAllocateResponse{{
		Envs: map[string]string{"CARDS": strings.Join(ids, ",")}, Annotations: map[string]string{"cards": "some"},
		Mounts:     []*pluginapi.Mount{{HostPath: "/lib", ContainerPath: "/cards", ReadOnly: true}},
		Devices:    []*pluginapi.DeviceSpec{{HostPath: "/dev/null", ContainerPath: "/dev/card", Permissions: "rw"}},
		CdiDevices: []*pluginapi.CDIDevice{{Name: "example.com/card=" + ids[0]}},
	}}}, nil
}

func (p *fakePlugin) PreStartContainer(_ context.Context, r *pluginapi.PreStartContainerRequest) (*pluginapi.PreStartContainerResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started = append(p.started, r.DevicesIds)
	return &pluginapi.PreStartContainerResponse{}, nil
}

// world is a manager with its folder.
type world struct {
	*Manager
	t       *testing.T
	changes chan struct{}
	stop    func()

	mu     sync.Mutex
	active []*corev1.Pod
}

func newWorld(t *testing.T, dir string) *world {
	t.Helper()
	w := &world{t: t, changes: make(chan struct{}, 1)}
	m, err := Open(Options{Dir: filepath.Join(dir, "plugins"), PodDir: filepath.Join(dir, "pods"), File: filepath.Join(dir, "devices.json"), Log: zaptest.NewLogger(t),
		Changed: func() {
			select {
			case w.changes <- struct{}{}:
			default:
			}
		},
		Pods: func() []*corev1.Pod {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.active
		}})
	if err != nil {
		t.Fatal(err)
	}
	w.Manager = m
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(w.stop)
	w.until("it serves", func() bool { _, err := os.Stat(socketIn(m.Dir)); return err == nil })
	return w
}

// shortDir is a folder whose paths are short enough for sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dev")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (w *world) until(what string, cond func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		if cond() {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("never: %s", what)
		}
		select {
		case <-w.changes:
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// has waits until the node has so many devices, and so many that are healthy.
func (w *world) has(name string, capacity, allocatable int64) {
	w.t.Helper()
	w.until("capacity", func() bool {
		c, a := w.Capacity()
		have, ok := c[corev1.ResourceName(name)]
		free := a[corev1.ResourceName(name)]
		return ok && have.Value() == capacity && free.Value() == allocatable
	})
}

func healthy(ids ...string) (out []*pluginapi.Device) {
	for _, id := range ids {
		out = append(out, &pluginapi.Device{ID: id, Health: pluginapi.Healthy})
	}
	return out
}

const card = "example.com/card"

func asks(name string, limits ...string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name)}}
	for i, n := range limits {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: string(rune('a' + i)),
			Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{card: resource.MustParse(n)}}})
	}
	return pod
}

// begin makes a pod one of those that have not ended, and allocates.
func (w *world) begin(pod *corev1.Pod) error {
	w.mu.Lock()
	w.active = append(w.active, pod)
	w.mu.Unlock()
	return w.Allocate(w.t.Context(), pod)
}

func (w *world) given(pod *corev1.Pod, container int) *Given {
	w.t.Helper()
	g, err := w.Prepare(w.t.Context(), pod, &pod.Spec.Containers[container])
	if err != nil || g == nil {
		w.t.Fatalf("%s: %v, %v", pod.Name, g, err)
	}
	return g
}
