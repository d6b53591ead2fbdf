package controllers

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"kubus.dev/services/kit"
)

func TestTheExampleConfigurationIsTheDefaults(t *testing.T) {
	data, err := os.ReadFile("config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var got Config
	if err := kit.Parse("config.example.yaml", data, &got); err != nil {
		t.Fatal(err)
	}
	if want := Default(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
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
