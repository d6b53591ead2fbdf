package statelog

import (
	"context"

	"kubus.dev/proto"
)

// Cut is all of a stream at one revision: of every write acknowledged before it was made
// there is the object, and of none that came later.
type Cut struct {
	Revision  uint64
	Resources map[proto.GroupResource]Snapshot
}

// Cut waits for a moment at which nothing is missing in the view, and gives all of it.
func (v *View) Cut(ctx context.Context) (Cut, error) {
	if err := v.Ready(ctx); err != nil {
		return Cut{}, err
	}
	for {
		v.mu.Lock()
		read := v.read
		if v.applied.Load() == read {
			defer v.mu.Unlock()
			break
		}
		v.mu.Unlock()
		if err := v.WaitFor(ctx, read); err != nil {
			return Cut{}, err
		}
	}
	c := Cut{Revision: v.read, Resources: map[proto.GroupResource]Snapshot{}}
	v.collections.Range(func(gr, collected any) bool {
		if s := collected.(*collection).snapshot(c.Revision); s.Len() > 0 {
			c.Resources[gr.(proto.GroupResource)] = s
		}
		return true
	})
	return c, nil
}
