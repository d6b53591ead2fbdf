package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/scheduler/internal/shape"
)

var (
	pods  = proto.GroupResource{Resource: "pods"}
	nodes = proto.GroupResource{Resource: "nodes"}
)

// Resources is what the scheduler reads of the log.
func Resources() []proto.GroupResource { return []proto.GroupResource{pods, nodes} }

// Feed follows pods and nodes of a view.
type Feed struct {
	view   *statelog.View
	shapes *shape.Table
	sinks  []Sink
	log    *zap.Logger
}

// New makes a feed for the sinks, each of which gets every batch, in their order.
func New(view *statelog.View, logger *zap.Logger, sinks ...Sink) *Feed {
	return &Feed{view: view, shapes: shape.NewTable(), sinks: sinks, log: logger}
}

// Shapes is the number of distinct pod shapes in use.
func (f *Feed) Shapes() int { return f.shapes.Len() }

// Run feeds the sinks until ctx ends. The first batch is a reset with all there is.
func (f *Feed) Run(ctx context.Context) error {
	if err := f.view.Ready(ctx); err != nil {
		return nil // ctx ended
	}
	for {
		err := f.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, statelog.ErrExpired) {
			return fmt.Errorf("reading the state log: %w", err)
		}
		f.log.Warn("fell behind the watch window, reading everything again")
	}
}

// follow loads everything and then waits for changes of either resource.
func (f *Feed) follow(ctx context.Context) error {
	podWatch, nodeWatch, err := f.load()
	if err != nil {
		return err
	}
	for {
		b := Batch{}
		nodeEvents, nodeWait, err := nodeWatch.Poll()
		if err != nil {
			return err
		}
		podEvents, podWait, err := podWatch.Poll()
		if err != nil {
			return err
		}
		for _, e := range nodeEvents {
			b.Changes = f.node(b.Changes, e.Entry)
			b.NodeRevision = e.Entry.Revision()
		}
		for _, e := range podEvents {
			b.Changes = f.pod(b.Changes, e.Entry)
			b.PodRevision = e.Entry.Revision()
		}
		if len(nodeEvents)+len(podEvents) > 0 {
			f.send(b)
			continue
		}
		select {
		case <-nodeWait:
		case <-podWait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *Feed) load() (podWatch, nodeWatch *statelog.Watch, err error) {
	b := Batch{Reset: true}
	nodeSnap, podSnap := f.view.Snapshot(nodes), f.view.Snapshot(pods)
	nodeSnap.Ascend("", func(e *statelog.Entry) bool {
		b.Changes = f.node(b.Changes, e)
		return true
	})
	podSnap.Ascend("", func(e *statelog.Entry) bool {
		b.Changes = f.pod(b.Changes, e)
		return true
	})
	b.NodeRevision, b.PodRevision = nodeSnap.Revision(), podSnap.Revision()
	if nodeWatch, err = f.view.Watch(nodes, b.NodeRevision); err != nil {
		return nil, nil, err
	}
	if podWatch, err = f.view.Watch(pods, b.PodRevision); err != nil {
		return nil, nil, err
	}
	f.send(b)
	return podWatch, nodeWatch, nil
}

func (f *Feed) send(b Batch) {
	for _, s := range f.sinks {
		s.Apply(b)
	}
}

// pod reads one version. What cannot be read is logged and left out: one broken
// object must not stop the scheduling of all others.
func (f *Feed) pod(changes []Change, e *statelog.Entry) []Change {
	p, err := f.shapes.Parse(e.Data(), e.Revision())
	if err != nil {
		f.log.Error("a pod cannot be read and will not be scheduled", zap.Stringer("pod", e.Key()), zap.Error(err))
		return changes
	}
	return append(changes, Change{Pod: p, Gone: e.Deleted(), Revision: e.Revision()})
}

func (f *Feed) node(changes []Change, e *statelog.Entry) []Change {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: e.Key().Name}}
	if !e.Deleted() {
		var obj struct {
			Metadata struct {
				Labels map[string]string `json:"labels"`
			} `json:"metadata"`
			Spec struct {
				Taints        []corev1.Taint `json:"taints"`
				Unschedulable bool           `json:"unschedulable"`
			} `json:"spec"`
			Status struct {
				Allocatable corev1.ResourceList `json:"allocatable"`
			} `json:"status"`
		}
		if err := json.Unmarshal(e.Data(), &obj); err != nil {
			f.log.Error("a node cannot be read and gets no pods", zap.Stringer("node", e.Key()), zap.Error(err))
			return append(changes, Change{Node: n, Gone: true, Revision: e.Revision()})
		}
		n.Labels, n.Spec.Taints, n.Spec.Unschedulable = obj.Metadata.Labels, obj.Spec.Taints, obj.Spec.Unschedulable
		n.Status.Allocatable = obj.Status.Allocatable
	}
	return append(changes, Change{Node: n, Gone: e.Deleted(), Revision: e.Revision()})
}
