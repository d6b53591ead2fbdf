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
	ctx    context.Context
	source Source
	log    *zap.Logger

	group *errgroup.Group

	mu        sync.Mutex
	views     map[string]*View
	resources []proto.GroupResource
	fences    []string

	trust Trust
	found integrity
	keeps window
}

// OpenViews makes views of the store's streams that live until ctx ends; the connection
// must be in the account of the log. With resources, only these are kept; a process that
// shares its views with others names none.
func OpenViews(ctx context.Context, conn *bus.Conn, logger *zap.Logger, resources ...proto.GroupResource) *Views {
	return OpenViewsFrom(ctx, fromStore{conn}, logger, resources...)
}

// OpenSignedViews is OpenViews of a log whose messages are signed: what is not is treated
// as not there.
func OpenSignedViews(ctx context.Context, conn *bus.Conn, trust Trust, logger *zap.Logger) *Views {
	vs := OpenViews(ctx, conn, logger)
	vs.trust = trust
	return vs
}

// OpenViewsFrom is OpenViews of another source.
func OpenViewsFrom(ctx context.Context, source Source, logger *zap.Logger, resources ...proto.GroupResource) *Views {
	group, ctx := errgroup.WithContext(ctx)
	return &Views{ctx: ctx, source: source, log: logger, group: group, views: map[string]*View{}, resources: resources, keeps: longWindow}
}

// Hear has the views read who holds the fences of those names, too, where they read only
// some resources. It is called first.
func (vs *Views) Hear(fences ...string) *Views {
	vs.fences = fences
	return vs
}

// KeepLittle is for views that only this process watches: it keeps up, so what has
// changed is forgotten after seconds, not minutes, and reads most objects once, so they
// are packed. Call it before the first view is opened.
func (vs *Views) KeepLittle() { vs.keeps = briefWindow }

// For gives the view that holds a resource, opened at the first call. Wait for
// Ready before trusting its snapshots.
func (vs *Views) For(gr proto.GroupResource) *View { return vs.Stream(*proto.StreamFor(gr)) }

// Named gives the view of the state stream of that name, nil where there is none.
func (vs *Views) Named(stream string) *View {
	for _, s := range proto.StateStreams() {
		if s.Name == stream {
			return vs.Stream(s)
		}
	}
	return nil
}

// Stream gives the view of a stream.
func (vs *Views) Stream(s proto.Stream) *View {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if v := vs.views[s.Name]; v != nil {
		return v
	}
	v := newView(s, vs.log)
	v.beliefs.Trust, v.beliefs.found, v.keeps = vs.trust, &vs.found, vs.keeps
	vs.views[s.Name] = v
	var subjects []string
	for _, gr := range vs.resources {
		if proto.StreamFor(gr).Name == s.Name {
			subjects = append(subjects, proto.ResourceSubjects(gr))
		}
	}
	for _, fence := range vs.fences {
		if len(subjects) > 0 && s.Name == proto.StateStream.Name {
			subjects = append(subjects, proto.FenceSubject(fence))
		}
	}
	vs.group.Go(func() error {
		if err := v.run(vs.ctx, vs.source, subjects); err != nil && vs.ctx.Err() == nil {
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
