package controllers

import (
	"strings"
	"testing"

	"kubus.dev/services/kit/kittest"
)

func TestTheExampleConfigurationShowsTheDefaults(t *testing.T) {
	t.Parallel()
	kittest.Example(t, Default())
}

func TestAllProblemsAreReportedAtOnce(t *testing.T) {
	cfg := Default()
	cfg.PodCIDR, cfg.Workers, cfg.NodeGracePeriod = "ten", 0, 0
	err := cfg.Validate()
	for _, part := range []string{"podCIDR", "workers", "nodeGracePeriod"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s is not reported: %v", part, err)
		}
	}
}

func TestWhichControllersRun(t *testing.T) {
	t.Parallel()
	all := 0
	for _, g := range Groups() {
		all += len(g.Controllers)
	}
	for _, tt := range []struct {
		names  []string
		groups int
		count  int
	}{
		{[]string{"*"}, len(Groups()), all},
		{[]string{"nodes"}, 1, 3},
		{[]string{"*", "-nodes"}, len(Groups()) - 1, all - 3},
		{[]string{"nodes", "-node-ipam"}, 1, 2},
		{[]string{"-nodes", "node-ipam"}, 1, 1},
		{[]string{"deployment", "replicaset"}, 1, 2},
	} {
		cfg := Default()
		cfg.Controllers = tt.names
		count := 0
		for _, g := range cfg.chosen() {
			count += len(g.Controllers)
		}
		if len(cfg.chosen()) != tt.groups || count != tt.count || cfg.Validate() != nil {
			t.Errorf("%v: %d controllers in %d groups, want %d in %d; %v", tt.names, count, len(cfg.chosen()), tt.count, tt.groups, cfg.Validate())
		}
	}
	for _, names := range [][]string{{"*", "-everything"}, {}, {"nobs"}} {
		cfg := Default()
		cfg.Controllers = names
		if cfg.Validate() == nil {
			t.Errorf("%v was taken", names)
		}
	}
}
