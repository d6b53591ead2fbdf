package eviction

import (
	"fmt"
	"testing"
	"time"
)

// story is a node with 1000 bytes of memory and of disk, seen from one moment to the next.
func story(t *testing.T, s Settings, steps []step) {
	t.Helper()
	thresholds, err := s.Thresholds()
	if err != nil {
		t.Fatal(err)
	}
	var state State
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, step := range steps {
		var f Finding
		seen := Observations{MemoryAvailable: {1000, step.memory}, NodeFsAvailable: {1000, step.disk}}
		state, f = state.Next(thresholds, seen, 5*time.Minute, begin.Add(step.at))
		var due []string
		for _, d := range f.Due {
			due = append(due, fmt.Sprint(d.Signal, " ", d.Value.Of(1000)))
		}
		if got := fmt.Sprintf("%v %q", f.Conditions, due); got != step.want {
			t.Errorf("after %s, with %d bytes of memory and %d of disk: got %s, want %s", step.at, step.memory, step.disk, got, step.want)
		}
	}
}

type step struct {
	at           time.Duration
	memory, disk int64
	want         string
}

func TestAHardThresholdIsDueAtOnceAndTheConditionStaysForFiveMinutes(t *testing.T) {
	t.Parallel()
	story(t, Settings{Hard: map[string]string{"memory.available": "100", "nodefs.available": "10%"}}, []step{
		{0, 100, 100, `[] []`},
		{1 * time.Second, 99, 500, `[MemoryPressure] ["memory.available 100"]`},
		{2 * time.Second, 500, 500, `[MemoryPressure] []`},
		{5 * time.Minute, 500, 99, `[DiskPressure MemoryPressure] ["nodefs.available 100"]`},
		{5*time.Minute + time.Second, 500, 500, `[DiskPressure] []`},
		{10 * time.Minute, 500, 500, `[] []`},
	})
}

func TestOfSeveralShortagesMemoryIsTheMostUrgent(t *testing.T) {
	t.Parallel()
	story(t, Settings{Hard: map[string]string{"nodefs.available": "10%"}, Soft: map[string]string{"memory.available": "200"}, SoftGrace: map[string]string{"memory.available": "1s"}}, []step{
		{0, 100, 50, `[DiskPressure MemoryPressure] ["nodefs.available 100"]`},
		{time.Second, 100, 50, `[DiskPressure MemoryPressure] ["memory.available 200" "nodefs.available 100"]`},
	})
}

func TestASoftThresholdIsDueWhenItWasMetForItsGraceWithoutABreak(t *testing.T) {
	t.Parallel()
	story(t, Settings{Soft: map[string]string{"memory.available": "300"}, SoftGrace: map[string]string{"memory.available": "30s"}}, []step{
		{0, 200, 500, `[MemoryPressure] []`},
		{20 * time.Second, 300, 500, `[MemoryPressure] []`},
		{30 * time.Second, 200, 500, `[MemoryPressure] []`},
		{59 * time.Second, 200, 500, `[MemoryPressure] []`},
		{60 * time.Second, 200, 500, `[MemoryPressure] ["memory.available 300"]`},
	})
}

func TestPodsEndUntilTheMinimumIsReclaimed(t *testing.T) {
	t.Parallel()
	story(t, Settings{Hard: map[string]string{"memory.available": "100"}, MinimumReclaim: map[string]string{"memory.available": "50"}}, []step{
		{0, 120, 500, `[] []`},
		{1 * time.Second, 90, 500, `[MemoryPressure] ["memory.available 100"]`},
		{2 * time.Second, 120, 500, `[MemoryPressure] ["memory.available 100"]`},
		{3 * time.Second, 150, 500, `[MemoryPressure] []`},
		{4 * time.Second, 120, 500, `[MemoryPressure] []`},
	})
}

func TestWhatCannotBeReadIsNotShort(t *testing.T) {
	t.Parallel()
	thresholds, err := Settings{Hard: DefaultHard()}.Thresholds()
	if err != nil {
		t.Fatal(err)
	}
	if _, f := (State{}).Next(thresholds, Observations{NodeFsInodesFree: {0, 0}}, time.Minute, time.Unix(0, 0)); len(f.Conditions)+len(f.Due) > 0 {
		t.Errorf("a node of which nothing is known, on a file system without a number of inodes, has %+v", f)
	}
}
