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
