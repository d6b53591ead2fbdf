package intake

import (
	"context"
	"fmt"
	"sync"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"kubus.dev/proto/statelog"
)

// lost knows which nodes were given up, so that a heartbeat costs no look at the node.
// Each version of a node is decoded once.
type lost struct {
	mu    sync.Mutex
	names map[string]bool
}

func newLost() *lost { return &lost{names: map[string]bool{}} }

// Has tells whether a node is given up.
func (l *lost) Has(node string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.names[node]
}

// note takes in whether a node is given up, and tells whether it was until now.
func (l *lost) note(node string, is bool) (was bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was = l.names[node]
	if is {
		l.names[node] = true
	} else {
		delete(l.names, node)
	}
	return was
}

// watch follows the nodes until ctx ends.
func (in *Intake) watch(ctx context.Context) error {
	err := statelog.Changes(ctx, in.view, nodes, func(snapshot statelog.Snapshot) {
		snapshot.Ascend("", func(e *statelog.Entry) bool {
			in.nodeChanged(e)
			return true
		})
	}, func(events []statelog.Event) {
		for _, event := range events {
			if event.Type == statelog.Deleted {
				name := event.Entry.Key().Name
				in.lost.note(name, false)
				in.replays.Forget(name)
				continue
			}
			in.nodeChanged(event.Entry)
		}
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("following nodes: %w", err)
}

// nodeChanged notes whether a node is given up. One that is back has its pods read once
// more when nobody writes about them any longer that it is lost.
func (in *Intake) nodeChanged(e *statelog.Entry) {
	node, err := statelog.Decode[corev1.Node](e)
	if err != nil {
		in.logger.Error("passing over a node that cannot be decoded", zap.Stringer("key", e.Key()), zap.Error(err))
		return
	}
	is := givenUp(node)
	if was := in.lost.note(node.Name, is); was && !is {
		in.replays.Later(node.Name, settle)
	}
}
