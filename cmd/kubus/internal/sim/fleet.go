package sim

import (
	"container/heap"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/cluster"
	"kubus.dev/proto/statelog"
)

const (
	// beat is how often nodes renew their Leases.
	beat = 10 * time.Second
	// atOnce bounds a bulk.
	atOnce = 1000
	// gather is how long deeds wait for others to go with.
	gather = 50 * time.Millisecond
)

var (
	nodes = proto.GroupResource{Resource: "nodes"}
	pods  = proto.GroupResource{Resource: "pods"}
)

// fleet is the nodes, and what is to happen on them.
type fleet struct {
	profile Profile
	names   []string
	index   map[string]int
	api     *apiclient.Client
	view    *statelog.View
	log     *zap.Logger

	due       agenda
	addresses uint32 // of pods, given out one after the other
}

// Run keeps n nodes, sim-0 to sim-(n-1), until ctx ends.
func Run(ctx context.Context, n int, p Profile, c *cluster.Client, logger *zap.Logger) error {
	f := &fleet{profile: p, index: map[string]int{}, api: c.API, view: c.Views.For(pods), log: logger}
	for i := range n {
		name := "sim-" + strconv.Itoa(i)
		f.names = append(f.names, name)
		f.index[name] = i
	}
	if err := f.view.Ready(ctx); err != nil {
		return nil // ctx ended
	}
	if err := f.register(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return f.live(ctx) })
	group.Go(func() error { return f.run(ctx) })
	return group.Wait()
}

// bulk sends requests and gives the errors, in their order; nil when nothing is known.
func (f *fleet) bulk(ctx context.Context, requests []apiclient.Request) []error {
	var out []error
	for part := range slices.Chunk(requests, atOnce) {
		results, err := f.api.Bulk(ctx, apiclient.BulkOptions{}, part)
		if err != nil {
			if ctx.Err() == nil {
				f.log.Warn("writing for simulated nodes", zap.Error(err))
			}
			for range part {
				out = append(out, err)
			}
			continue
		}
		for i := range results {
			out = append(out, results[i].Err)
		}
	}
	return out
}

const leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"

// register creates the nodes and their Leases; those that are there stay. What cannot be
// written yet, since the cluster is only beginning, is tried again.
func (f *fleet) register(ctx context.Context) error {
	var requests []apiclient.Request
	for i, name := range f.names {
		node, err := json.Marshal(f.node(i, time.Now()))
		if err != nil {
			return err
		}
		lease := fmt.Sprintf(`{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":%q,"namespace":"kube-node-lease"},"spec":{"holderIdentity":%q,"leaseDurationSeconds":40,"renewTime":%q}}`,
			name, name, time.Now().UTC().Format(metav1.RFC3339Micro))
		requests = append(requests, apiclient.Request{Method: http.MethodPost, Path: "/api/v1/nodes", Body: node},
			apiclient.Request{Method: http.MethodPost, Path: leases, Body: []byte(lease)})
	}
	for len(requests) > 0 {
		var again []apiclient.Request
		var last error
		for i, err := range f.bulk(ctx, requests) {
			if err != nil && !apierrors.IsAlreadyExists(err) {
				again, last = append(again, requests[i]), err
			}
		}
		if requests = again; len(requests) == 0 {
			break
		}
		f.log.Info("simulated nodes are registered again", zap.Int("requests", len(requests)), zap.Error(last))
		if !sleep(ctx, time.Second) {
			return nil
		}
	}
	f.log.Info("simulated nodes are registered", zap.Int("nodes", len(f.names)))
	return nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// node is the i-th as its agent would register it.
func (f *fleet) node(i int, now time.Time) *corev1.Node {
	kind := &f.profile.Nodes[i%len(f.profile.Nodes)]
	n := &corev1.Node{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: metav1.ObjectMeta{Name: f.names[i], Labels: map[string]string{
		corev1.LabelHostname: f.names[i], corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64", "kubus.dev/simulated": "true",
	}}}
	if len(kind.Zones) > 0 {
		n.Labels[corev1.LabelTopologyZone] = kind.Zones[i%len(kind.Zones)]
	}
	for k, v := range kind.Labels {
		n.Labels[k] = v
	}
	n.Spec.Taints = kind.Taints
	n.Status.Capacity, n.Status.Allocatable = kind.Allocatable, kind.Allocatable
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: f.names[i]}, {Type: corev1.NodeInternalIP, Address: address(hostRange, uint32(i)+1)}}
	at := metav1.NewTime(now)
	for kind, status := range map[corev1.NodeConditionType]corev1.ConditionStatus{
		corev1.NodeReady: corev1.ConditionTrue, corev1.NodeMemoryPressure: corev1.ConditionFalse, corev1.NodeDiskPressure: corev1.ConditionFalse, corev1.NodePIDPressure: corev1.ConditionFalse,
	} {
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: kind, Status: status, LastHeartbeatTime: at, LastTransitionTime: at, Reason: "Simulated"})
	}
	n.Status.NodeInfo = corev1.NodeSystemInfo{OperatingSystem: "linux", Architecture: "amd64", KubeletVersion: "v1.37.2-sim", ContainerRuntimeVersion: "sim://1"}
	return n
}

// Ranges that nothing else uses: that for benchmarks, and that of carriers.
var (
	hostRange = netip.MustParseAddr("198.18.0.0")
	podRange  = netip.MustParseAddr("100.64.0.0")
)

func address(base netip.Addr, n uint32) string {
	b := base.As4()
	sum := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	sum += n
	return netip.AddrFrom4([4]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}).String()
}

// live renews the Leases of the nodes that are there and not silent.
func (f *fleet) live(ctx context.Context) error {
	for sleep(ctx, beat) {
		var requests []apiclient.Request
		body := []byte(fmt.Sprintf(`{"spec":{"renewTime":%q}}`, time.Now().UTC().Format(metav1.RFC3339Micro)))
		for _, name := range f.names {
			if !f.silent(name) {
				requests = append(requests, apiclient.Request{Method: http.MethodPatch, Path: leases + "/" + name, Body: body, ContentType: apiclient.MergePatch})
			}
		}
		f.bulk(ctx, requests)
	}
	return nil
}

// silent tells whether a node is gone or is to be silent.
func (f *fleet) silent(name string) bool {
	e := f.view.Get(nodes, "", name)
	if e == nil || e.Deleted() {
		return true
	}
	n, err := statelog.Decode[metav1.PartialObjectMetadata](e)
	return err != nil || n.Annotations[DownAnnotation] == "true"
}

// run follows the pods and does what is due.
func (f *fleet) run(ctx context.Context) error {
	for {
		err := f.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, statelog.ErrExpired) {
			return fmt.Errorf("reading pods: %w", err)
		}
	}
}

func (f *fleet) follow(ctx context.Context) error {
	f.due = agenda{at: map[types.UID]*appointment{}}
	snap := f.view.Snapshot(pods)
	snap.Ascend("", func(e *statelog.Entry) bool {
		f.see(e)
		return true
	})
	watch, err := f.view.Watch(pods, snap.Revision())
	if err != nil {
		return err
	}
	for {
		events, wait, err := watch.Poll()
		if err != nil {
			return err
		}
		for _, e := range events {
			f.see(e.Entry)
		}
		pause := f.do(ctx)
		if len(events) > 0 {
			continue
		}
		timer := time.NewTimer(pause)
		select {
		case <-wait:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// see notes what is to happen to a pod.
func (f *fleet) see(e *statelog.Entry) {
	pod, err := statelog.Decode[corev1.Pod](e)
	if err != nil {
		return
	}
	if _, ours := f.index[pod.Spec.NodeName]; !ours || e.Deleted() {
		f.due.cancel(pod.UID)
		return
	}
	deed, at := next(&f.profile, pod, time.Now())
	if deed == nothing {
		f.due.cancel(pod.UID)
		return
	}
	if have := f.due.at[pod.UID]; have != nil && have.deed == deed && have.when.Before(at) {
		at = have.when // another version of the same: its time runs already
	}
	f.due.set(pod, deed, at)
}

// do writes what is due by now, and says how long there is nothing to do.
func (f *fleet) do(ctx context.Context) time.Duration {
	now := time.Now()
	var ready []*appointment
	for len(f.due.list) > 0 && !f.due.list[0].when.After(now) {
		a, _ := heap.Pop(&f.due).(*appointment)
		delete(f.due.at, a.pod.UID)
		ready = append(ready, a)
	}
	var requests []apiclient.Request
	var of []*appointment
	for _, a := range ready {
		if f.silent(a.pod.Spec.NodeName) { // until its node speaks again
			f.due.set(a.pod, a.deed, now.Add(beat))
			continue
		}
		r, err := f.request(a, now)
		if err != nil {
			f.log.Error("a simulated pod", zap.Error(err))
			continue
		}
		requests, of = append(requests, r), append(of, a)
	}
	for i, err := range f.bulk(ctx, requests) {
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && !apierrors.IsInvalid(err) {
			f.due.set(of[i].pod, of[i].deed, now.Add(time.Second))
		}
	}
	if len(f.due.list) == 0 {
		return time.Hour
	}
	return max(gather, time.Until(f.due.list[0].when))
}

func (f *fleet) request(a *appointment, now time.Time) (apiclient.Request, error) {
	path := "/api/v1/namespaces/" + a.pod.Namespace + "/pods/" + a.pod.Name
	if a.deed == remove {
		zero := int64(0)
		return apiclient.DeleteRequest(path, &metav1.DeleteOptions{GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &a.pod.UID}})
	}
	f.addresses = (f.addresses + 1) % (1 << 22)
	host := address(hostRange, uint32(f.index[a.pod.Spec.NodeName])+1)
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": a.pod.UID},
		"status":   after(&f.profile, a.pod, a.deed, now, host, address(podRange, f.addresses+1)),
	})
	return apiclient.Request{Method: http.MethodPatch, Path: path + "/status", Body: body, ContentType: apiclient.StrategicMergePatch}, err
}
