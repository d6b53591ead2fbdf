package statelog

import (
	"context"
	"errors"

	"kubus.dev/proto"
)

// Follow is for readers that keep their own form of objects. It calls onChange
// for every object there is, then synced (which may be nil), then onChange for
// every change, in order; a nil entry says that the object is gone. When the
// watch falls behind it compares and goes on, so a version may be skipped or
// told twice, but the last state never is missed. One call at a time. Follow
// ends with ctx and gives its error.
func Follow(ctx context.Context, v *View, gr proto.GroupResource, onChange func(proto.Key, *Entry), synced func()) error {
	return follow(ctx, v, gr, func(k proto.Key, e *Entry, _ uint64) { onChange(k, e) }, synced)
}

// changeFunc is told of an object's next version, nil when it is gone, and of
// the revision of the change.
type changeFunc func(k proto.Key, e *Entry, revision uint64)

func follow(ctx context.Context, v *View, gr proto.GroupResource, onChange changeFunc, synced func()) error {
	if err := v.Ready(ctx); err != nil {
		return err
	}
	known := map[tombKey]struct{}{}
	for {
		after := tell(v.Snapshot(gr), gr, known, onChange)
		if synced != nil {
			synced()
			synced = nil
		}
		if err := followChanges(ctx, v, gr, after, known, onChange); !errors.Is(err, ErrExpired) {
			return err
		}
	}
}

// tell reports a snapshot and what is missing in it, and gives its revision.
func tell(snap Snapshot, gr proto.GroupResource, known map[tombKey]struct{}, onChange changeFunc) uint64 {
	gone := make(map[tombKey]struct{}, len(known))
	for k := range known {
		gone[k] = struct{}{}
	}
	snap.Ascend("", func(e *Entry) bool {
		k := tombKey{e.key.Namespace, e.key.Name}
		delete(gone, k)
		known[k] = struct{}{}
		onChange(e.key, e, e.revision)
		return true
	})
	for k := range gone {
		delete(known, k)
		onChange(proto.Key{GroupResource: gr, Namespace: k.namespace, Name: k.name}, nil, snap.Revision())
	}
	return snap.Revision()
}

func followChanges(ctx context.Context, v *View, gr proto.GroupResource, after uint64, known map[tombKey]struct{}, onChange changeFunc) error {
	w, err := v.Watch(gr, after)
	if err != nil {
		return err
	}
	defer w.Stop()
	for {
		events, err := w.Next(ctx)
		if err != nil {
			return err
		}
		for _, ev := range events {
			k := tombKey{ev.Entry.key.Namespace, ev.Entry.key.Name}
			if ev.Type == Deleted {
				delete(known, k)
				onChange(ev.Entry.key, nil, ev.Entry.revision)
			} else {
				known[k] = struct{}{}
				onChange(ev.Entry.key, ev.Entry, ev.Entry.revision)
			}
		}
	}
}
