package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	protobuf "google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/message"
	"kubus.dev/services/agent/internal/runtime"
)

// heartbeat is how often a node tells that it is there.
const heartbeat = 10 * time.Second

// Images lists what is on the node.
type Images interface{ Images() []runtime.Image }

// Reports carries the node's report.
type Reports interface {
	Node(node *corev1.Node, instance string) error
}

// Publisher sends core messages.
type Publisher interface {
	Publish(subject string, data []byte) error
}

// rereadMost bounds how long pods wait for a second look at their node.
const rereadMost = 2 * time.Second

// Reporter owns what the cluster knows of the node.
type Reporter struct {
	settings Settings
	machine  Machine
	dataDir  string
	instance string
	images   Images
	reports  Reports
	bus      Publisher
	log      *zap.Logger

	// Devices are the resources of device plugins; nil: none. It is set before the first Refresh.
	Devices func() (capacity, allocatable corev1.ResourceList)

	object atomic.Pointer[corev1.Node] // as reported last
	known  chan struct{}               // closed when the API's object, or that there is none, is known

	refreshing sync.Mutex // one Refresh at a time, so that an older look never wins

	mu       sync.Mutex
	network  string // why the network is not ready; "" when it is
	pressure Pressure
	down     bool              // the machine shuts down
	cidr     string            // of the API's object, at first as a former run kept it
	labels   map[string]string // likewise; nil before they are known
	uid      types.UID         // of the API's object; empty before it is known
}

// NewReporter builds the first object, as the continuation of the one a former
// run kept in dataDir; nothing is told before Run. instance changes with each
// start of the agent.
func NewReporter(s Settings, m Machine, dataDir, instance string, images Images, reports Reports, bus Publisher, log *zap.Logger) *Reporter {
	r := &Reporter{
		settings: s, machine: m, dataDir: dataDir, instance: instance, images: images, reports: reports, bus: bus, log: log,
		network: "the node has no pod CIDR yet", known: make(chan struct{}),
	}
	kept := r.load()
	if kept != nil {
		r.cidr, r.labels = kept.Spec.PodCIDR, kept.Labels
	}
	r.object.Store(r.build(kept))
	return r
}

// Resume sets up the pod network as a former run had it, so that a restart of
// the agent is no moment of a node that is not ready.
func (r *Reporter) Resume(ctx context.Context, network Network) {
	if r.cidr == "" {
		return
	}
	if err := r.connect(ctx, network, r.cidr); err != nil {
		r.log.Warn("pod network of before not set up, waiting for the cluster", zap.String("cidr", r.cidr), zap.Error(err))
		r.cidr = ""
		return
	}
	r.mu.Lock()
	r.network = ""
	r.mu.Unlock()
	r.object.Store(r.build(r.load()))
}

func (r *Reporter) build(previous *corev1.Node) *corev1.Node {
	r.mu.Lock()
	st := State{NetworkReady: r.network, Pressure: r.pressure, ShuttingDown: r.down}
	r.mu.Unlock()
	st.Images = r.images.Images()
	if r.Devices != nil {
		st.Devices, st.HealthyDevices = r.Devices()
	}
	return Build(r.settings, r.machine, st, previous, time.Now())
}

// Object is the node as reported last, with the labels that it has in the API, by
// whomever, where they are known. It must not be changed.
func (r *Reporter) Object() *corev1.Node {
	n := r.object.Load()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.labels == nil {
		return n
	}
	labelled := *n
	labelled.Labels = r.labels
	return &labelled
}

// Reread brings the labels of Object to those that the API has now. Without an
// answer within rereadMost they stay what they were.
func (r *Reporter) Reread(ctx context.Context, api *apiclient.Client) {
	ctx, cancel := context.WithTimeout(ctx, rereadMost)
	defer cancel()
	n, err := apiclient.Get[corev1.Node](ctx, api, "/api/v1/nodes/"+url.PathEscape(r.settings.Name))
	if err != nil {
		r.log.Debug("node not read", zap.Error(err))
		return
	}
	r.label(n.Labels)
}

// Known is closed when Follow has read the node's object, or that there is none.
// A pod that was bound to the node should not be judged before.
func (r *Reporter) Known() <-chan struct{} { return r.known }

// UID is that of the node's object in the API; "" before that is known.
func (r *Reporter) UID() types.UID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.uid
}

// Allocatable is what pods may use.
func (r *Reporter) Allocatable() corev1.ResourceList { return r.object.Load().Status.Allocatable }

// SetNetwork says why the pod network is not ready; "" when it is.
func (r *Reporter) SetNetwork(reason string) {
	r.mu.Lock()
	changed := r.network != reason
	r.network = reason
	r.mu.Unlock()
	if changed {
		r.Refresh()
	}
}

// Refresh reports the node when something of it changed.
func (r *Reporter) Refresh() {
	r.refreshing.Lock()
	defer r.refreshing.Unlock()
	old := r.object.Load()
	fresh := r.build(old)
	if same(old, fresh) {
		fresh = old
	} else {
		r.object.Store(fresh)
		r.keep(fresh)
	}
	if err := r.reports.Node(fresh, r.instance); err != nil {
		r.log.Error("node not reported", zap.Error(err))
	}
}

// Run reports the node, then beats its heart until ctx ends.
func (r *Reporter) Run(ctx context.Context) error {
	r.Refresh()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for n := uint64(1); ; n++ {
		r.beat(n)
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
		}
	}
}

// SetShuttingDown says whether the machine shuts down.
func (r *Reporter) SetShuttingDown(down bool) {
	r.mu.Lock()
	r.down = down
	r.mu.Unlock()
	r.Refresh()
}

// SetPressure says of what the node is short, as eviction has found.
func (r *Reporter) SetPressure(conditions []corev1.NodeConditionType) {
	r.press(func(p *Pressure) {
		p.Memory = slices.Contains(conditions, corev1.NodeMemoryPressure)
		p.Disk = slices.Contains(conditions, corev1.NodeDiskPressure)
		p.PIDs = slices.Contains(conditions, corev1.NodePIDPressure)
	})
}

func (r *Reporter) press(change func(*Pressure)) {
	r.mu.Lock()
	before := r.pressure
	change(&r.pressure)
	changed := r.pressure != before
	r.mu.Unlock()
	if changed {
		r.Refresh()
	}
}

func (r *Reporter) beat(n uint64) {
	data, err := protobuf.Marshal(&message.Heartbeat{Node: r.settings.Name, Instance: r.instance, Sequence: n, TimeUnixMs: time.Now().UnixMilli()})
	if err == nil {
		err = r.bus.Publish(proto.HeartbeatSubject(r.settings.Name), data)
	}
	if err != nil {
		r.log.Debug("heartbeat not sent", zap.Error(err))
	}
}

// Beat sends a heartbeat out of turn, after a reconnect.
func (r *Reporter) Beat() { r.beat(0) }

// Greet sends a heartbeat to each gateway that begins, until the subscription is
// stopped: a gateway shows no Lease of a node that it has not heard.
func (r *Reporter) Greet(conn *bus.Conn) (*bus.Subscription, error) {
	sub, err := conn.Subscribe(proto.GatewayHelloSubject, "", func(*bus.Msg) { r.Beat() })
	if err != nil {
		return nil, fmt.Errorf("listening for gateways: %w", err)
	}
	return sub, nil
}

// Network is what takes the node's pod CIDR.
type Network interface {
	SetPodCIDR(ctx context.Context, cidr string) error
}

// Follow watches the node's object until ctx ends: its labels are noted, its pod
// CIDR goes to the network, then ready is called; when the object is deleted while
// the agent runs, the node is reported anew.
func (r *Reporter) Follow(ctx context.Context, api *apiclient.Client, network Network, ready func()) error {
	query := url.Values{"fieldSelector": {"metadata.name=" + r.settings.Name}}
	have := r.cidr
	return apiclient.ListWatch(ctx, api, "/api/v1/nodes", query, func(_, new *corev1.Node) {
		if new == nil {
			r.deleted()
			return
		}
		r.label(new.Labels)
		r.mu.Lock()
		r.uid = new.UID
		r.mu.Unlock()
		if new.Spec.PodCIDR == "" || new.Spec.PodCIDR == have {
			return
		}
		if err := r.connect(ctx, network, new.Spec.PodCIDR); err != nil {
			r.log.Error("pod network not set up", zap.String("cidr", new.Spec.PodCIDR), zap.Error(err))
			r.SetNetwork(err.Error())
			return
		}
		have = new.Spec.PodCIDR
		r.mu.Lock()
		r.cidr = have
		r.mu.Unlock()
		r.SetNetwork("")
		ready()
	}, func() { close(r.known) })
}

// deleted reports the node as a new one.
func (r *Reporter) deleted() {
	r.log.Warn("the node's object was deleted, reporting it again")
	r.label(nil)
	if err := r.reports.Node(r.object.Load(), r.instance+"/"+time.Now().Format(time.RFC3339Nano)); err != nil {
		r.log.Error("node not reported", zap.Error(err))
	}
}

// label notes the labels that the node has in the API.
func (r *Reporter) label(labels map[string]string) {
	r.mu.Lock()
	same := maps.Equal(r.labels, labels)
	r.labels = labels
	r.mu.Unlock()
	if same {
		return
	}
	r.refreshing.Lock()
	defer r.refreshing.Unlock()
	r.keep(r.object.Load())
}

func (r *Reporter) connect(ctx context.Context, network Network, cidr string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := network.SetPodCIDR(ctx, cidr); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("setting up the pod network took too long: %w", err)
		}
		return err
	}
	return nil
}
