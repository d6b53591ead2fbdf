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
	return Changes(ctx, v, gr, func(snap Snapshot) {
		tell(snap, gr, known, onChange)
		if synced != nil {
			synced()
			synced = nil
		}
	}, func(events []Event) {
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
	})
}

// Changes is for readers that compare for themselves. It calls begin with what there is,
// then changed with what happens since, in order; when the watch falls behind it begins
// again. One call at a time; events are shared and must not be changed. It ends with ctx
// and gives its error. The view must be ready.
func Changes(ctx context.Context, v *View, gr proto.GroupResource, begin func(Snapshot), changed func([]Event)) error {
	for {
		if err := changes(ctx, v, gr, begin, changed); !errors.Is(err, ErrExpired) {
			return err
		}
	}
}

func changes(ctx context.Context, v *View, gr proto.GroupResource, begin func(Snapshot), changed func([]Event)) error {
	snap := v.Snapshot(gr)
	w, err := v.Watch(gr, snap.Revision())
	if err != nil {
		return err
	}
	defer w.Stop()
	begin(snap)
	for {
		events, err := w.Next(ctx)
		if err != nil {
			return err
		}
		changed(events)
	}
}

// tell reports a snapshot and what is missing in it.
func tell(snap Snapshot, gr proto.GroupResource, known map[tombKey]struct{}, onChange changeFunc) {
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
}
