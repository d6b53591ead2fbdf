package storage

import (
	"context"
	"time"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// Log is what the stores need of statelog.Log.
type Log interface {
	Commit(ctx context.Context, w statelog.Write) (uint64, error)
	Barrier(ctx context.Context, gr proto.GroupResource) (uint64, error)
	View(gr proto.GroupResource) *statelog.View
}

// Sealer keeps the content of secrets unreadable in the log.
type Sealer interface {
	// Seal makes what is stored of a document, Open the document of what is stored.
	Seal(key proto.Key, document []byte) ([]byte, error)
	Open(key proto.Key, stored []byte) ([]byte, error)
}

// Backend is what all stores share.
type Backend struct {
	Log    Log
	Sealer Sealer
	Now    func() time.Time // nil: time.Now
}

func (b *Backend) now() time.Time {
	if b.Now != nil {
		return b.Now()
	}
	return time.Now()
}
