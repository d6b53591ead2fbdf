package agent

import (
	"strings"
	"testing"
	"time"

	"kubus.dev/services/kit"
	"kubus.dev/services/kit/kittest"
)

func TestTheExampleConfigurationShowsTheDefaults(t *testing.T) {
	t.Parallel()
	kittest.Example(t, Default())
}

func TestValidateNamesEveryProblem(t *testing.T) {
	t.Parallel()
	c := Default()
	c.Node, c.NodeIP, c.DataDir, c.ClusterDNS, c.PodCIDR, c.MaxPods, c.Instance = "Bad_Name", "nope", "rel", []string{"x"}, "y", 0, "UP"
	c.Reserved = map[string]string{"cpu": "many"}
	c.EvictionHard = map[string]string{"cpu.available": "1", "memory.available": "-1"}
	c.EvictionSoft = map[string]string{"nodefs.available": "101%"}
	c.EvictionSoftGracePeriod = map[string]string{"nodefs.inodesFree": "1m"}
	c.EvictionMaxPodGracePeriod = -1
	c.CPUManagerPolicy, c.ReservedSystemCPUs = "exclusive", "1-x"
	c.ShutdownGracePeriodCriticalPods = kit.Duration(time.Second)
	c.DevicePluginDir, c.PodResourcesDir = "rel", "rel"
	c.Runtimes = map[string]Runtime{"runc": {}, "Up_": {}}
	c.AllowedUnsafeSysctls = []string{"kernel.msg*", "kernel.panic"}
	err := c.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, key := range []string{"node:", "nodeIP:", "dataDir:", "clusterDNS[0]:", "podCIDR:", "maxPods:", "instance:", "reserved.cpu:", "cpuManagerPolicy:",
		"evictionHard[cpu.available]:", "evictionHard[memory.available]:", "evictionSoft[nodefs.available]:", "evictionSoftGracePeriod[nodefs.inodesFree]:", "shutdownGracePeriod, shutdownGracePeriodCriticalPods:", "evictionMaxPodGracePeriod:", "allowedUnsafeSysctls[1]:", "devicePluginDir:", "podResourcesDir:", "runtimes.runc:", "runtimes.Up_:"} {
		if !strings.Contains(err.Error(), key) {
			t.Errorf("nothing of %s in %v", key, err)
		}
	}
}
