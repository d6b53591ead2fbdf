package read

import (
	"sync"
	"time"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// pages keeps the snapshots that unfinished paged lists read from, so that all
// pages show one point in time. They go when their time is over, or the oldest
// first when there are many.
type pages struct {
	ttl time.Duration

	mu   sync.Mutex
	kept map[proto.GroupResource][]keptSnapshot // by age, oldest first
	tick *time.Timer
}

type keptSnapshot struct {
	snapshot statelog.Snapshot
	until    time.Time
}

// maxKept bounds the snapshots of one resource. A snapshot costs what changed since.
const maxKept = 64

func newPages(ttl time.Duration) *pages {
	return &pages{ttl: ttl, kept: map[proto.GroupResource][]keptSnapshot{}}
}

// keep holds a snapshot for the page TTL. Further pages of it do not make that
// longer: a token expires however often it is used, as upstream's do.
func (p *pages) keep(gr proto.GroupResource, s statelog.Snapshot, first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.kept[gr]
	for i := range list {
		if list[i].snapshot.Revision() == s.Revision() {
			if first {
				list[i].until = time.Now().Add(p.ttl)
			}
			return
		}
	}
	list = append(list, keptSnapshot{s, time.Now().Add(p.ttl)})
	if len(list) > maxKept {
		list = append([]keptSnapshot(nil), list[len(list)-maxKept:]...)
	}
	p.kept[gr] = list
	if p.tick == nil {
		p.tick = time.AfterFunc(p.ttl, p.expire)
	}
}

// at gives the snapshot that was kept at exactly this revision.
func (p *pages) at(gr proto.GroupResource, revision uint64) (statelog.Snapshot, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range p.kept[gr] {
		if k.snapshot.Revision() == revision && time.Now().Before(k.until) {
			return k.snapshot, true
		}
	}
	return statelog.Snapshot{}, false
}

func (p *pages) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tick = nil
	now := time.Now()
	var next time.Time
	for gr, list := range p.kept {
		var left []keptSnapshot
		for _, k := range list {
			if now.Before(k.until) {
				left = append(left, k)
				if next.IsZero() || k.until.Before(next) {
					next = k.until
				}
			}
		}
		if len(left) == 0 {
			delete(p.kept, gr)
			continue
		}
		p.kept[gr] = left
	}
	if !next.IsZero() {
		p.tick = time.AfterFunc(next.Sub(now)+time.Millisecond, p.expire)
	}
}
