package feed

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"go.uber.org/zap"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/scheduler/internal/claim"
	"kubus.dev/services/scheduler/internal/shape"
)

var (
	pods    = proto.GroupResource{Resource: "pods"}
	nodes   = proto.GroupResource{Resource: "nodes"}
	claims  = proto.GroupResource{Resource: "persistentvolumeclaims"}
	volumes = proto.GroupResource{Resource: "persistentvolumes"}
	classes = proto.GroupResource{Group: "storage.k8s.io", Resource: "storageclasses"}
	spaces  = proto.GroupResource{Resource: "namespaces"}
	budgets = proto.GroupResource{Group: "policy", Resource: "poddisruptionbudgets"}

	csiNodes   = proto.GroupResource{Group: "storage.k8s.io", Resource: "csinodes"}
	csiDrivers = proto.GroupResource{Group: "storage.k8s.io", Resource: "csidrivers"}
	capacities = proto.GroupResource{Group: "storage.k8s.io", Resource: "csistoragecapacities"}
	services   = proto.GroupResource{Resource: "services"}
)

// Resources is what the scheduler reads of the log.
func Resources() []proto.GroupResource {
	return append([]proto.GroupResource{pods, nodes}, others...)
}

// others are read before pods: claims are there when the pods that name them are resolved.
var others = []proto.GroupResource{spaces, budgets, services, csiNodes, csiDrivers, capacities, classes, volumes, claims}

// Feed follows pods and nodes of a view, and what pods' claims are about.
type Feed struct {
	*Reader
	view  *statelog.View
	sinks []Sink
}

// New makes a feed for the sinks, each of which gets every batch, in their order.
func New(view *statelog.View, logger *zap.Logger, profiles []*shape.Profile, sinks ...Sink) *Feed {
	return &Feed{Reader: NewReader(logger, profiles...), view: view, sinks: sinks}
}

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

// watches are those of the resources, in the order in which they are read.
type watches struct {
	nodes, pods *statelog.Watch
	others      []*statelog.Watch
}

// follow loads everything and then waits for changes of any resource.
func (f *Feed) follow(ctx context.Context) error {
	w, err := f.load()
	if err != nil {
		return err
	}
	waits := make([]reflect.SelectCase, len(w.others)+3) // pods, nodes and the end are behind the others
	for i := range waits {
		waits[i].Dir = reflect.SelectRecv
	}
	waits[len(waits)-1].Chan = reflect.ValueOf(ctx.Done())
	for {
		b := Batch{}
		nodeEvents, nodeWait, err := w.nodes.Poll()
		if err != nil {
			return err
		}
		read := len(nodeEvents)
		for _, e := range nodeEvents {
			b.Changes = f.node(b.Changes, e.Entry)
			b.NodeRevision = e.Entry.Revision()
		}
		for i, watch := range w.others {
			events, wait, err := watch.Poll()
			if err != nil {
				return err
			}
			waits[i].Chan = reflect.ValueOf(wait)
			read += len(events)
			for _, e := range events {
				f.other(&b, others[i], e.Entry)
			}
		}
		b.VolumeRevision = b.VolumeSeen
		podEvents, podWait, err := w.pods.Poll()
		if err != nil {
			return err
		}
		for _, e := range podEvents {
			b.Changes = f.pod(b.Changes, e.Entry)
			b.PodRevision = e.Entry.Revision()
		}
		b.Changes = f.again(b.Changes)
		if read+len(podEvents) > 0 {
			f.send(b)
			continue
		}
		waits[len(w.others)].Chan, waits[len(w.others)+1].Chan = reflect.ValueOf(podWait), reflect.ValueOf(nodeWait)
		if chosen, _, _ := reflect.Select(waits); chosen == len(waits)-1 {
			return ctx.Err()
		}
	}
}

func (f *Feed) load() (w watches, err error) {
	b := Batch{Reset: true}
	f.claims = claim.New()
	nodeSnap := f.view.Snapshot(nodes)
	nodeSnap.Ascend("", func(e *statelog.Entry) bool {
		b.Changes = f.node(b.Changes, e)
		return true
	})
	for _, gr := range others {
		snap := f.view.Snapshot(gr)
		snap.Ascend("", func(e *statelog.Entry) bool {
			f.other(&b, gr, e)
			return true
		})
		if gr == spaces || gr == budgets || gr == csiNodes {
			b.SpaceRevision = max(b.SpaceRevision, snap.Revision())
		} else {
			b.VolumeRevision = max(b.VolumeRevision, snap.Revision())
		}
		watch, err := f.view.Watch(gr, snap.Revision())
		if err != nil {
			return w, err
		}
		w.others = append(w.others, watch)
	}
	podSnap := f.view.Snapshot(pods)
	podSnap.Ascend("", func(e *statelog.Entry) bool {
		b.Changes = f.pod(b.Changes, e)
		return true
	})
	b.Changes = f.again(b.Changes)
	b.NodeRevision, b.PodRevision = nodeSnap.Revision(), podSnap.Revision()
	if w.nodes, err = f.view.Watch(nodes, b.NodeRevision); err != nil {
		return w, err
	}
	if w.pods, err = f.view.Watch(pods, b.PodRevision); err != nil {
		return w, err
	}
	f.send(b)
	return w, nil
}

func (f *Feed) send(b Batch) {
	for _, s := range f.sinks {
		s.Apply(b)
	}
}
