package kit

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestTheSmallestLimitAboveAProcessCounts(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"none without control groups": {nil, 0},
		"none where all say max": {map[string]string{
			"/proc/self/cgroup": "0::/a/b\n", "/sys/fs/cgroup/a/b/memory.max": "max\n", "/sys/fs/cgroup/a/memory.max": "max\n",
		}, 0},
		"that of a parent": {map[string]string{
			"/proc/self/cgroup": "0::/a/b\n", "/sys/fs/cgroup/a/b/memory.max": "2000000\n", "/sys/fs/cgroup/a/memory.max": "1000000\n",
		}, 1000000},
		"that of the root which a container sees": {map[string]string{
			"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "3000000\n",
		}, 3000000},
		"that of version 1, whose largest number means none": {map[string]string{
			"/proc/self/cgroup":                                 "5:cpu,cpuacct:/x\n4:memory:/x\n",
			"/sys/fs/cgroup/memory/memory.limit_in_bytes":       "9223372036854771712\n",
			"/sys/fs/cgroup/memory/x/memory.limit_in_bytes":     "4000000\n",
			"/sys/fs/cgroup/memory/other/memory.limit_in_bytes": "1\n",
		}, 4000000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := cgroupLimit(func(path string) ([]byte, error) {
				if s, ok := tc.files[path]; ok {
					return []byte(s), nil
				}
				return nil, os.ErrNotExist
			})
			if got != tc.want {
				t.Errorf("got %d, want %d of %v", got, tc.want, tc.files)
			}
		})
	}
}

func TestEachCollectionIsToldUntilTheEnd(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := make(chan struct{}, 1)
	notifyCollections(ctx, c)
	for range 3 {
		runtime.GC()
		select {
		case <-c:
		case <-time.After(10 * time.Second):
			t.Fatal("a collection was not told")
		}
	}
}

func TestExcessIsWhatNobodyReaches(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		m    memory
		want uint64
	}{
		"garbage and empty pages":                         {memory{live: 10, objects: 25, free: 5}, 20},
		"empty pages alone while a sweep is not finished": {memory{live: 10, objects: 9, free: 5}, 5},
	} {
		if got := tc.m.excess(); got != tc.want {
			t.Errorf("%s: got %d, want %d of %+v", name, got, tc.want, tc.m)
		}
	}
}

func TestAFrugalProcessCollectsEarlierUnlessTheEnvironmentHasChosen(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	percent := func() int {
		now := debug.SetGCPercent(100)
		debug.SetGCPercent(now)
		return now
	}
	t.Setenv("GOGC", "100")
	if Frugal(); percent() != 100 {
		t.Errorf("GOGC is 100 and the collector runs at %d", percent())
	}
	t.Setenv("GOGC", "")
	if Frugal(); percent() != 50 {
		t.Errorf("the collector runs at %d", percent())
	}
}
