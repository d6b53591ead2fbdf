package device

import (
	"context"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"

	"kubus.dev/services/agent/internal/runtime"
)

func request(resource, endpoint string) *pluginapi.RegisterRequest {
	return &pluginapi.RegisterRequest{Version: pluginapi.Version, ResourceName: resource, Endpoint: endpoint}
}

func TestAPluginsDevicesAreTheNodesAsLongAsItIsThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shortDir(t))
	p := startPlugin(t, w.Dir, card, "p", &pluginapi.DevicePluginOptions{}, healthy("a", "b", "c")...)
	if err := register(t, w.Dir, request(card, "p.sock")); err != nil {
		t.Fatal(err)
	}
	w.has(card, 3, 3)
	sick := healthy("a", "b", "c")
	sick[1].Health = pluginapi.Unhealthy
	p.lists <- sick
	w.has(card, 3, 2)
	p.lists <- healthy("a", "b", "c", "d")
	w.has(card, 4, 4)
	p.server.Stop()
	w.has(card, 4, 0)
	if next := w.expire(); next.IsZero() {
		t.Error("nothing is to expire")
	}
	later := w.now().Add(goneAfter)
	w.Manager.mu.Lock()
	w.resources[card].since = w.resources[card].since.Add(-goneAfter)
	w.Manager.mu.Unlock()
	if next := w.expire(); !next.IsZero() {
		t.Errorf("a second look at %s, before %s", next, later)
	}
	w.has(card, 0, 0)
}

func TestRegistrationsThatAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shortDir(t))
	startPlugin(t, w.Dir, card, "p", &pluginapi.DevicePluginOptions{}, healthy("a")...)
	for name, c := range map[string]struct {
		request *pluginapi.RegisterRequest
		err     string
	}{
		"another version":      {&pluginapi.RegisterRequest{Version: "v2", ResourceName: card, Endpoint: "p.sock"}, `requested API version "v2" is not supported by kubelet`},
		"a resource of ours":   {request("cpu", "p.sock"), `the ResourceName "cpu" is invalid`},
		"one of Kubernetes'":   {request("kubernetes.io/card", "p.sock"), `is invalid`},
		"a request of a quota": {request("requests.example.com/card", "p.sock"), `is invalid`},
		"no name":              {request("example.com/_", "p.sock"), `is invalid`},
		"a socket elsewhere":   {request(card, "../p.sock"), `is no name of a socket`},
	} {
		if err := register(t, w.Dir, c.request); err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if c, _ := w.Capacity(); len(c) != 0 {
		t.Errorf("capacity %v", c)
	}
}

func TestContainersAreGivenTheirDevices(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shortDir(t))
	p := startPlugin(t, w.Dir, card, "p", &pluginapi.DevicePluginOptions{PreStartRequired: true, GetPreferredAllocationAvailable: true}, healthy("a", "b", "c")...)
	if err := register(t, w.Dir, request(card, "p.sock")); err != nil {
		t.Fatal(err)
	}
	w.has(card, 3, 3)
	pod := asks("one", "1", "1")
	pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "none"})
	if !w.Wants(pod) || w.Wants(asks("none")) {
		t.Error("it does not know who wants devices")
	}
	if err := w.begin(pod); err != nil {
		t.Fatal(err)
	}
	want := &Given{Env: []string{"CARDS=c"}, Annotations: map[string]string{"cards": "some"}, CDI: []string{"example.com/card=c"},
		Mounts:  []runtime.Mount{{HostPath: "/lib", ContainerPath: "/cards", ReadOnly: true}},
		Devices: []runtime.Device{{HostPath: "/dev/null", ContainerPath: "/dev/card", Permissions: "rw"}}}
	if got := w.given(pod, 0); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := w.given(pod, 1); got.Env[0] != "CARDS=b" {
		t.Errorf("the second container: %+v", got)
	}
	if g, err := w.Prepare(t.Context(), pod, &pod.Spec.Containers[2]); g != nil || err != nil {
		t.Errorf("a container without devices: %v, %v", g, err)
	}
	if err := w.Allocate(t.Context(), pod); err != nil { // again
		t.Error(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !reflect.DeepEqual(p.allocated, [][]string{{"c"}, {"b"}}) || !reflect.DeepEqual(p.started, [][]string{{"c"}, {"b"}}) {
		t.Errorf("allocated %v, told of starts %v", p.allocated, p.started)
	}
}

func TestNoDeviceIsWithTwoPods(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	w := newWorld(t, dir)
	startPlugin(t, w.Dir, card, "p", &pluginapi.DevicePluginOptions{}, healthy("a", "b")...)
	if err := register(t, w.Dir, request(card, "p.sock")); err != nil {
		t.Fatal(err)
	}
	w.has(card, 2, 2)
	first, second := asks("first", "1"), asks("second", "2")
	if err := w.begin(first); err != nil {
		t.Fatal(err)
	}
	const full = "Allocate failed due to requested number of devices unavailable for example.com/card. Requested: 2, Available: 1, which is unexpected"
	var refused *Error
	if err := w.begin(second); !errors.As(err, &refused) || err.Error() != full {
		t.Errorf("%v", err)
	}
	w.stop()

	// The next agent knows who has what; until the plugin is back nobody gets anything.
	next := newWorld(t, dir)
	next.active = []*corev1.Pod{first}
	next.has(card, 0, 0)
	if g := next.given(first, 0); g.Env[0] != "CARDS=a" {
		t.Errorf("after a restart: %+v", g)
	}
	third := asks("third", "1")
	const away = "Allocate failed due to no healthy devices present; cannot allocate unhealthy devices example.com/card, which is unexpected"
	if err := next.begin(third); err == nil || err.Error() != away {
		t.Errorf("%v", err)
	}
	startPlugin(t, next.Dir, card, "q", &pluginapi.DevicePluginOptions{}, healthy("a", "b")...)
	if err := register(t, next.Dir, request(card, "q.sock")); err != nil {
		t.Fatal(err)
	}
	next.has(card, 2, 2)
	if err := next.Allocate(t.Context(), third); err != nil || next.given(third, 0).Env[0] != "CARDS=b" {
		t.Errorf("%v", err)
	}
	next.active = []*corev1.Pod{third} // the first has ended
	if err := next.begin(asks("fourth", "1")); err != nil {
		t.Error(err)
	}
}

func TestInitContainersGiveTheirDevicesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shortDir(t))
	startPlugin(t, w.Dir, card, "p", &pluginapi.DevicePluginOptions{}, healthy("a", "b", "c")...)
	if err := register(t, w.Dir, request(card, "p.sock")); err != nil {
		t.Fatal(err)
	}
	w.has(card, 3, 3)
	pod := asks("pod", "2")
	always := corev1.ContainerRestartPolicyAlways
	limit := corev1.ResourceRequirements{Limits: corev1.ResourceList{card: resource.MustParse("1")}}
	pod.Spec.InitContainers = []corev1.Container{{Name: "init", Resources: limit}, {Name: "sidecar", Resources: limit, RestartPolicy: &always}}
	if err := w.begin(pod); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{"init": {"a"}, "sidecar": {"a"}, "a": {"b", "c"}} {
		if got := w.pods[pod.UID][name][card].Devices; !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", name, got, want)
		}
	}
}

func TestAPluginThatRefusesOrHangsLeavesNothingAllocated(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shortDir(t))
	p := startPlugin(t, w.Dir, card, "p", &pluginapi.DevicePluginOptions{}, healthy("a", "b")...)
	if err := register(t, w.Dir, request(card, "p.sock")); err != nil {
		t.Fatal(err)
	}
	w.has(card, 2, 2)
	p.mu.Lock()
	p.refuse = errors.New("out of order")
	p.mu.Unlock()
	if err := w.begin(asks("one", "2")); err == nil || !strings.Contains(err.Error(), "out of order, which is unexpected") {
		t.Errorf("%v", err)
	}
	p.mu.Lock()
	p.refuse, p.held = nil, make(chan struct{})
	p.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Allocate(ctx, asks("one", "2")) }()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	p.mu.Lock()
	close(p.held)
	p.held = nil
	p.mu.Unlock()
	if err := w.begin(asks("two", "2")); err != nil {
		t.Error(err)
	}
}

func TestMonitorsSeeWhoHasWhat(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shortDir(t))
	devices := healthy("a", "b")
	devices[0].Topology = &pluginapi.TopologyInfo{Nodes: []*pluginapi.NUMANode{{ID: 1}}}
	startPlugin(t, w.Dir, card, "p", &pluginapi.DevicePluginOptions{}, devices...)
	if err := register(t, w.Dir, request(card, "p.sock")); err != nil {
		t.Fatal(err)
	}
	w.has(card, 2, 2)
	pod := asks("pod", "1")
	if err := w.begin(pod); err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("unix://"+socketIn(w.PodDir), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	api := podresources.NewPodResourcesListerClient(conn)
	list, err := api.List(t.Context(), &podresources.ListPodResourcesRequest{}, grpc.WaitForReady(true))
	if err != nil || len(list.PodResources) != 1 || len(list.PodResources[0].Containers) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	got := list.PodResources[0].Containers[0].Devices
	if len(got) != 1 || got[0].ResourceName != card || !slices.Equal(got[0].DeviceIds, []string{"a"}) || got[0].Topology.Nodes[0].ID != 1 {
		t.Errorf("%v", got)
	}
	if one, err := api.Get(t.Context(), &podresources.GetPodResourcesRequest{PodNamespace: "ns", PodName: "pod"}); err != nil || one.PodResources.Name != "pod" {
		t.Errorf("%v, %v", one, err)
	}
	if _, err := api.Get(t.Context(), &podresources.GetPodResourcesRequest{PodNamespace: "ns", PodName: "no"}); err == nil || !strings.Contains(err.Error(), "pod no in namespace ns not found") {
		t.Errorf("%v", err)
	}
	all, err := api.GetAllocatableResources(t.Context(), &podresources.AllocatableResourcesRequest{})
	if err != nil || len(all.Devices) != 2 {
		t.Errorf("%v, %v", all, err)
	}
}

func TestAFolderIsServedByOneAgent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shortDir(t))
	if _, _, err := listen(w.Dir); !errors.Is(err, errServed) {
		t.Errorf("a second agent: %v", err)
	}
	if err := Clear(w.Dir); err != nil {
		t.Errorf("clearing what is another's: %v", err)
	}
	if _, err := os.Stat(socketIn(w.Dir)); err != nil {
		t.Errorf("the socket that is served: %v", err)
	}
	w.stop()
	if err := Clear(w.Dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(w.Dir); !os.IsNotExist(err) {
		t.Errorf("the folder is left: %v", err)
	}
}
