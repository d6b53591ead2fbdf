package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// group makes the files that a kernel would show.
func group(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, value := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestAGroupIsResized(t *testing.T) {
	t.Parallel()
	v1 := map[string]string{"cpu/pod/cpu.shares": "2", "cpu/pod/cpu.cfs_quota_us": "1000", "cpu/pod/cpu.cfs_period_us": "100000",
		"memory/pod/memory.limit_in_bytes": "4096", "memory/pod/memory.memsw.limit_in_bytes": "4096"}
	v2 := map[string]string{"pod/cpu.weight": "1", "pod/cpu.max": "1000 100000", "pod/memory.max": "4096", "pod/memory.swap.max": "0"}
	more := Limits{CPUShares: 1024, CPUQuota: 50000, MemoryLimit: 1 << 20}
	for name, c := range map[string]struct {
		resize      func(root, path string, l Limits) error
		files, want map[string]string
		limits      Limits
	}{
		"v1 to other limits": {resizeV1, v1, map[string]string{"cpu/pod/cpu.shares": "1024", "cpu/pod/cpu.cfs_quota_us": "50000",
			"memory/pod/memory.limit_in_bytes": "1048576", "memory/pod/memory.memsw.limit_in_bytes": "1048576"}, more},
		"v1 to none": {resizeV1, v1, map[string]string{"cpu/pod/cpu.shares": "2", "cpu/pod/cpu.cfs_quota_us": "-1",
			"memory/pod/memory.limit_in_bytes": "-1", "memory/pod/memory.memsw.limit_in_bytes": "-1"}, Limits{}},
		"v2 to other limits": {resizeV2, v2, map[string]string{"pod/cpu.weight": "100", "pod/cpu.max": "50000 100000",
			"pod/memory.max": "1048576", "pod/memory.swap.max": "0"}, more},
		"v2 to none": {resizeV2, v2, map[string]string{"pod/cpu.weight": "1", "pod/cpu.max": "max 100000",
			"pod/memory.max": "max", "pod/memory.swap.max": "max"}, Limits{}},
		"v2 on a kernel without swap": {resizeV2, map[string]string{"pod/cpu.weight": "1", "pod/cpu.max": "max 100000", "pod/memory.max": "max"},
			map[string]string{"pod/memory.max": "1048576"}, more},
	} {
		root := group(t, c.files)
		if err := c.resize(root, "/pod", c.limits); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for file, want := range c.want {
			if got, err := os.ReadFile(filepath.Join(root, file)); err != nil || strings.TrimSpace(string(got)) != want {
				t.Errorf("%s: %s holds %q, %v, want %q", name, file, got, err, want)
			}
		}
		if _, err := os.Stat(filepath.Join(root, "pod", "memory.swap.max")); err == nil && c.files["pod/memory.swap.max"] == "" {
			t.Errorf("%s: made a file", name)
		}
	}
}

func TestAGroupThatIsGoneIsNotMade(t *testing.T) {
	t.Parallel()
	for name, resize := range map[string]func(root, path string, l Limits) error{"v1": resizeV1, "v2": resizeV2} {
		root := t.TempDir()
		if err := resize(root, "/pod", Limits{CPUShares: 2}); !os.IsNotExist(err) {
			t.Errorf("%s: %v", name, err)
		}
		if left, _ := os.ReadDir(root); len(left) > 0 {
			t.Errorf("%s: %v", name, left)
		}
	}
}

func TestSharesBecomeTheWeightThatRuncGives(t *testing.T) {
	t.Parallel()
	for shares, want := range map[uint64]uint64{2: 1, 20: 6, 102: 17, 1024: 100, 262144: 10000} {
		if got := weight(shares); got != want {
			t.Errorf("%d shares: weight %d, want %d", shares, got, want)
		}
	}
}
