package aggregate

import (
	"context"

	discoveryv1 "k8s.io/api/discovery/v1"
	api "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// changes tells when a Service or its endpoints change after it was made.
type changes struct {
	ref     api.ServiceReference
	watches []*statelog.Watch
}

func (a *Aggregator) changes(ref api.ServiceReference) *changes {
	c := &changes{ref: ref}
	for _, gr := range []proto.GroupResource{services, endpointSlices} {
		view := a.o.View(gr)
		if w, err := view.Watch(gr, view.Revision()); err == nil {
			c.watches = append(c.watches, w)
		}
	}
	return c
}

func (c *changes) stop() {
	for _, w := range c.watches {
		w.Stop()
	}
}

// wait returns at the next change that concerns the Service, or when ctx ends.
func (c *changes) wait(ctx context.Context) {
	for {
		var next [2]<-chan struct{}
		for i, w := range c.watches {
			events, changed, err := w.Poll()
			if err != nil {
				return // more happened than the window holds: look again
			}
			for j := range events {
				if c.concerns(events[j].Entry) {
					return
				}
			}
			if len(events) > 0 {
				closed := make(chan struct{})
				close(closed)
				changed = closed
			}
			next[i] = changed
		}
		select {
		case <-next[0]:
		case <-next[1]:
		case <-ctx.Done():
			return
		}
	}
}

func (c *changes) concerns(e *statelog.Entry) bool {
	k := e.Key()
	if k.Namespace != c.ref.Namespace {
		return false
	}
	if k.GroupResource == services {
		return k.Name == c.ref.Name
	}
	return e.Meta().Labels[discoveryv1.LabelServiceName] == c.ref.Name
}
