package eviction

import (
	"strings"
	"testing"
	"time"
)

func TestThresholds(t *testing.T) {
	t.Parallel()
	got, err := Settings{
		Hard:           map[string]string{"nodefs.available": "10%", "memory.available": "100Mi", "nodefs.inodesFree": "0%"},
		Soft:           map[string]string{"memory.available": "1Gi"},
		SoftGrace:      map[string]string{"memory.available": "1m30s"},
		MinimumReclaim: map[string]string{"memory.available": "50Mi"},
	}.Thresholds()
	if err != nil || len(got) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	if m := got[0]; m.Signal != MemoryAvailable || !m.Hard() || m.Value.Of(1).String() != "100Mi" || m.Reclaim.Of(1).String() != "50Mi" {
		t.Errorf("the first is %+v", m)
	}
	if d := got[1]; d.Signal != NodeFsAvailable || d.Value.Of(1000).Value() != 100 || d.Reclaim.Of(1000).Value() != 0 {
		t.Errorf("the second is %+v", d)
	}
	if s := got[2]; s.Hard() || s.Grace != 90*time.Second || s.Value.Of(1).String() != "1Gi" {
		t.Errorf("the third is %+v", s)
	}
}

func TestEveryProblemOfThresholdsIsNamed(t *testing.T) {
	t.Parallel()
	_, err := Settings{
		Hard:           map[string]string{"cpu": "1", "memory.available": "much", "nodefs.available": "NaN%"},
		Soft:           map[string]string{"memory.available": "0", "nodefs.available": "5%"},
		SoftGrace:      map[string]string{"nodefs.inodesFree": "1m"},
		MinimumReclaim: map[string]string{"nodefs.inodesFree": "-1"},
	}.Thresholds()
	if err == nil {
		t.Fatal("no error")
	}
	for _, key := range []string{"evictionHard[cpu]: unknown", "evictionHard[memory.available]:", "evictionHard[nodefs.available]:", "evictionSoft[memory.available]:",
		"evictionSoftGracePeriod[nodefs.available]:", "evictionSoftGracePeriod[nodefs.inodesFree]:", "evictionMinimumReclaim[nodefs.inodesFree]:"} {
		if !strings.Contains(err.Error(), key) {
			t.Errorf("nothing of %s in %v", key, err)
		}
	}
}
