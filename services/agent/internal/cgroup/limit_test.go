package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestControllersAreFoundInBothVersions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		v2    bool
		files map[string]string
	}{
		"v1": {false, map[string]string{"hugetlb/cgroup.procs": "", "other": ""}},
		"v2": {true, map[string]string{"cgroup.controllers": "cpu hugetlb memory\n"}},
	} {
		root := group(t, c.files)
		if !has(root, c.v2, "hugetlb") || has(root, c.v2, "huge") || has(root, c.v2, "other") {
			t.Errorf("%s: found %v %v %v", name, has(root, c.v2, "hugetlb"), has(root, c.v2, "huge"), has(root, c.v2, "other"))
		}
	}
}

func TestLimitsAreWrittenWhereEachVersionReadsThem(t *testing.T) {
	t.Parallel()
	limits := Limits{CPUShares: 1024, CPUQuota: 50000, MemoryLimit: 1 << 30, PidsLimit: 100}
	for name, tt := range map[string]struct {
		limit func(root, path string, l Limits) error
		want  map[string]string
	}{
		"v1": {limitV1, map[string]string{"cpu/all/cpu.shares": "1024", "cpu/all/cpu.cfs_quota_us": "50000", "cpu/all/cpu.cfs_period_us": "100000",
			"memory/all/memory.limit_in_bytes": "1073741824", "memory/all/memory.use_hierarchy": "1", "pids/all/pids.max": "100"}},
		"v2": {limitV2, map[string]string{"all/cpu.weight": "100", "all/cpu.max": "50000 100000", "all/memory.max": "1073741824", "all/pids.max": "100",
			"cgroup.subtree_control": "+cpuset"}},
	} {
		root := t.TempDir()
		if err := tt.limit(root, "/all", limits); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for file, want := range tt.want {
			if got, err := os.ReadFile(filepath.Join(root, file)); err != nil || strings.TrimSpace(string(got)) != want {
				t.Errorf("%s: %s holds %q, %v, want %q", name, file, got, err, want)
			}
		}
	}
}
