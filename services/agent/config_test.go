package agent

import (
	"reflect"
	"strings"
	"testing"

	"kubus.dev/services/kit"
)

func TestExampleShowsTheDefaults(t *testing.T) {
	t.Parallel()
	got, want := Config{}, Default()
	if err := kit.Load("config.example.yaml", &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Reserved) == 0 {
		got.Reserved = nil
	}
	if len(got.Labels) == 0 {
		got.Labels = nil
	}
	if len(got.InsecureRegistries) == 0 {
		got.InsecureRegistries = nil
	}
	if len(got.AllowedUnsafeSysctls) == 0 {
		got.AllowedUnsafeSysctls = nil
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("config.example.yaml says\n%+v\nthe defaults are\n%+v", got, want)
	}
}

func TestValidateNamesEveryProblem(t *testing.T) {
	t.Parallel()
	c := Default()
	c.Node, c.NodeIP, c.DataDir, c.ClusterDNS, c.PodCIDR, c.MaxPods, c.Instance = "Bad_Name", "nope", "rel", []string{"x"}, "y", 0, "UP"
	c.Reserved = map[string]string{"cpu": "many"}
	c.AllowedUnsafeSysctls = []string{"kernel.msg*", "kernel.panic"}
	err := c.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, key := range []string{"node:", "nodeIP:", "dataDir:", "clusterDNS[0]:", "podCIDR:", "maxPods:", "instance:", "reserved.cpu:", "allowedUnsafeSysctls[1]:"} {
		if !strings.Contains(err.Error(), key) {
			t.Errorf("nothing of %s in %v", key, err)
		}
	}
}
