package agent

import (
	"strconv"

	"kubus.dev/services/agent/internal/self"
)

// configuration is the agent's as that of a kubelet.
func (c *Config) configuration() self.Configuration {
	return self.Configuration{
		StaticPodPath: c.StaticPodPath, ClusterDomain: c.ClusterDomain, ClusterDNS: c.ClusterDNS, ResolverConf: c.ResolvConf,
		MaxPods: int32(c.MaxPods), PodPidsLimit: c.PodPids, CPUManagerPolicy: c.CPUManagerPolicy, ReservedSystemCPUs: c.ReservedSystemCPUs,
		SystemReserved: c.Reserved, AllowedUnsafeSysctls: c.AllowedUnsafeSysctls,
		EvictionHard: c.EvictionHard, EvictionSoft: c.EvictionSoft, EvictionSoftGracePeriod: c.EvictionSoftGracePeriod, EvictionMinimumReclaim: c.EvictionMinimumReclaim,
		EvictionMaxPodGracePeriod: int32(c.EvictionMaxPodGracePeriod), EvictionPressureTransitionPeriod: c.EvictionPressureTransitionPeriod.Std().String(),
		ImageGCHighThresholdPercent: int32(c.ImageGCHighThresholdPercent), ImageGCLowThresholdPercent: int32(c.ImageGCLowThresholdPercent),
		ImageMinimumGCAge: c.ImageMinimumGCAge.Std().String(), ImageMaximumGCAge: c.ImageMaximumGCAge.Std().String(),
		ContainerLogMaxSize: strconv.FormatInt(c.LogMaxSize, 10), ContainerLogMaxFiles: int32(c.LogMaxFiles),
		ShutdownGracePeriod: c.ShutdownGracePeriod.Std().String(), ShutdownGracePeriodCriticalPods: c.ShutdownGracePeriodCriticalPods.Std().String(),
	}
}
