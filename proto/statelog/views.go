package statelog

import (
	"context"
	"fmt"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
)

// Views are a process's views, one for each state stream that somebody asks for.
type Views struct {
	ctx  context.Context
	conn *bus.Conn
	log  *zap.Logger

	group *errgroup.Group

	mu        sync.Mutex
	views     map[string]*View
	resources []proto.GroupResource
}

// OpenViews makes views that live until ctx ends. With resources, only these are
// kept; a process that shares its views with others names none.
func OpenViews(ctx context.Context, conn *bus.Conn, logger *zap.Logger, resources ...proto.GroupResource) *Views {
	group, ctx := errgroup.WithContext(ctx)
	return &Views{ctx: ctx, conn: conn, log: logger, group: group, views: map[string]*View{}, resources: resources}
}

// For gives the view that holds a resource, opened at the first call. Wait for
// Ready before trusting its snapshots.
func (vs *Views) For(gr proto.GroupResource) *View { return vs.Stream(*proto.StreamFor(gr)) }

// Stream gives the view of a stream.
func (vs *Views) Stream(s proto.Stream) *View {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if v := vs.views[s.Name]; v != nil {
		return v
	}
	v := newView(s, vs.log)
	vs.views[s.Name] = v
	var subjects []string
	for _, gr := range vs.resources {
		if proto.StreamFor(gr).Name == s.Name {
			subjects = append(subjects, proto.ResourceSubjects(gr))
		}
	}
	if subjects != nil {
		subjects = append(subjects, "state_fence.*")
	}
	vs.group.Go(func() error {
		if err := v.run(vs.ctx, vs.conn, subjects); err != nil && vs.ctx.Err() == nil {
			vs.log.Error("view ended", zap.String("stream", s.Name), zap.Error(err))
			return err
		}
		return nil
	})
	return v
}

// Ready waits for the views of the given resources, or of all state streams.
func (vs *Views) Ready(ctx context.Context, resources ...proto.GroupResource) error {
	if len(resources) == 0 {
		for _, s := range proto.StateStreams() {
			vs.Stream(s)
		}
	}
	for _, gr := range resources {
		vs.For(gr)
	}
	vs.mu.Lock()
	views := make([]*View, 0, len(vs.views))
	for _, v := range vs.views {
		views = append(views, v)
	}
	vs.mu.Unlock()
	for _, v := range views {
		if err := v.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Wait returns when ctx has ended and every view has stopped.
func (vs *Views) Wait() error {
	if err := vs.group.Wait(); err != nil {
		return fmt.Errorf("reading the state log: %w", err)
	}
	return nil
}
