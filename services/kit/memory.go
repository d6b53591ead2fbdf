package kit

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
)

const (
	// quiet is how long no collection has run when a burst counts as over.
	quiet = 10 * time.Second
	// worthwhile is how much must be there to be given back, at least; with a large
	// heap, whose collection is dear, an eighth of it.
	worthwhile = 4 << 20
)

// KeepMemory sets the soft memory limit and gives memory that only a burst needed
// back to the system, once, when the burst is over. It ends with ctx.
//
// Nothing is polled: a burst allocates, so the collector runs, and it is each
// collection that starts the wait anew. An idle process wakes with the runtime's
// own collection, every two minutes, and finds nothing to do.
func KeepMemory(ctx context.Context) {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 { // else the environment has chosen
		if limit := softLimit(cgroupLimit(os.ReadFile)); limit > 0 {
			debug.SetMemoryLimit(limit)
		}
	}
	collected := make(chan struct{}, 1)
	notifyCollections(ctx, collected)
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	own := uint64(0) // the collector's count after our own collections
	for {
		select {
		case <-ctx.Done():
			return
		case <-collected:
			if readMemory().cycles != own {
				timer.Reset(quiet)
			}
		case <-timer.C:
			// The first burst is the start itself: what it needed goes whatever its size.
			if m := readMemory(); own != 0 && m.excess() < max(worthwhile, m.live/8) {
				continue
			}
			runtime.GC()         // what pools hold survives one collection
			debug.FreeOSMemory() // but not two
			own = readMemory().cycles
		}
	}
}

// Frugal has the collector run when the heap has grown by half of what is alive, and not by
// all of it, unless the environment says how much (GOGC). It is for processes that hold much
// for long and make little anew: what they save is worth more than what it costs.
func Frugal() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

// memory is what the runtime says of the heap, in bytes.
type memory struct {
	live, objects, free uint64 // reachable at the last collection; allocated; mapped but empty
	cycles              uint64
}

// excess is what a collection would make or has made free, and the system has not.
func (m memory) excess() uint64 { return m.free + m.objects - min(m.objects, m.live) }

func readMemory() memory {
	s := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/gc/cycles/total:gc-cycles"},
	}
	metrics.Read(s)
	return memory{live: s[0].Value.Uint64(), objects: s[1].Value.Uint64(), free: s[2].Value.Uint64(), cycles: s[3].Value.Uint64()}
}

// notifyCollections sends after each collection, without waiting, until ctx ends:
// an object that nobody holds is cleaned up by the next one.
func notifyCollections(ctx context.Context, c chan<- struct{}) {
	var next func()
	next = func() {
		runtime.AddCleanup(&canary{}, func(int) {
			if ctx.Err() != nil {
				return
			}
			next() // first: who was told may collect at once
			select {
			case c <- struct{}{}:
			default:
			}
		}, 0)
	}
	next()
}

// canary is an object with a block of its own: the smallest ones share theirs.
type canary struct{ _ *canary }

// softLimit leaves a tenth of a hard limit for what the runtime does not count.
func softLimit(hard int64) int64 { return hard / 10 * 9 }

// cgroupLimit is the smallest memory limit of this process's control group and
// those above, 0 without any. It knows version 2 and version 1.
func cgroupLimit(read func(string) ([]byte, error)) int64 {
	groups, err := read("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	smallest := int64(0)
	for line := range strings.Lines(string(groups)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		root, file := "/sys/fs/cgroup", "memory.max"
		switch {
		case strings.Contains(","+parts[1]+",", ",memory,"):
			root, file = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
		case parts[1] != "":
			continue
		}
		for dir := parts[2]; ; dir = filepath.Dir(dir) {
			data, err := read(filepath.Join(root, dir, file))
			if n, bad := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64); err == nil && bad == nil && n > 0 && n < 1<<60 && (smallest == 0 || n < smallest) {
				smallest = n
			}
			if dir == "/" || dir == "." {
				break
			}
		}
	}
	return smallest
}
