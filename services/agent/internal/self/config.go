package self

import "encoding/json"

// Configuration is the part of a kubelet's configuration (kubelet.config.k8s.io/v1beta1)
// that an agent has, by the same names; durations are as Go writes them.
type Configuration struct {
	StaticPodPath string   `json:"staticPodPath,omitempty"`
	ClusterDomain string   `json:"clusterDomain,omitempty"`
	ClusterDNS    []string `json:"clusterDNS,omitempty"`
	ResolverConf  string   `json:"resolvConf,omitempty"`

	MaxPods              int32             `json:"maxPods"`
	PodPidsLimit         int64             `json:"podPidsLimit"`
	CPUManagerPolicy     string            `json:"cpuManagerPolicy"`
	ReservedSystemCPUs   string            `json:"reservedSystemCPUs,omitempty"`
	SystemReserved       map[string]string `json:"systemReserved,omitempty"`
	AllowedUnsafeSysctls []string          `json:"allowedUnsafeSysctls,omitempty"`

	EvictionHard                     map[string]string `json:"evictionHard,omitempty"`
	EvictionSoft                     map[string]string `json:"evictionSoft,omitempty"`
	EvictionSoftGracePeriod          map[string]string `json:"evictionSoftGracePeriod,omitempty"`
	EvictionMinimumReclaim           map[string]string `json:"evictionMinimumReclaim,omitempty"`
	EvictionMaxPodGracePeriod        int32             `json:"evictionMaxPodGracePeriod"`
	EvictionPressureTransitionPeriod string            `json:"evictionPressureTransitionPeriod"`

	ImageGCHighThresholdPercent int32  `json:"imageGCHighThresholdPercent"`
	ImageGCLowThresholdPercent  int32  `json:"imageGCLowThresholdPercent"`
	ImageMinimumGCAge           string `json:"imageMinimumGCAge"`
	ImageMaximumGCAge           string `json:"imageMaximumGCAge"`

	ContainerLogMaxSize  string `json:"containerLogMaxSize"`
	ContainerLogMaxFiles int32  `json:"containerLogMaxFiles"`

	ShutdownGracePeriod             string `json:"shutdownGracePeriod"`
	ShutdownGracePeriodCriticalPods string `json:"shutdownGracePeriodCriticalPods"`
}

// configz is what a kubelet's /configz answers.
func (c Configuration) configz() ([]byte, error) {
	return json.Marshal(map[string]any{"kubeletconfig": struct {
		Configuration
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
	}{c, "KubeletConfiguration", "kubelet.config.k8s.io/v1beta1"}})
}
