package agent

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"kubus.dev/services/agent/internal/eviction"
	"kubus.dev/services/agent/internal/pod"
	"kubus.dev/services/kit"
)

// Config is what an operator writes; config.example.yaml explains each key.
type Config struct {
	kit.Common `yaml:",inline"`

	Node     string `yaml:"node"`     // the node's name; empty: the host's
	NodeIP   string `yaml:"nodeIP"`   // empty: that of the default route
	Instance string `yaml:"instance"` // tells apart what several agents of a machine make; empty: the node's name
	DataDir  string `yaml:"dataDir"`  // pods, images and logs are in its folder agent
	RunDir   string `yaml:"runDir"`   // empty: /run/kubus/<instance>
	LogDir   string `yaml:"logDir"`   // containers' logs; empty: <dataDir>/agent/logs

	ClusterDNS    []string `yaml:"clusterDNS"`
	ClusterDomain string   `yaml:"clusterDomain"`
	PodCIDR       string   `yaml:"podCIDR"` // of all nodes' pods together
	ResolvConf    string   `yaml:"resolvConf"`
	MTU           int      `yaml:"mtu"`
	Overhead      int      `yaml:"overhead"` // bytes that the network between nodes adds to pods' packets

	StaticPodPath string `yaml:"staticPodPath"` // folder of static pods' manifests, relative to dataDir; empty: none

	MaxPods    int               `yaml:"maxPods"`
	PodPids    int64             `yaml:"podPids"`
	Reserved   map[string]string `yaml:"reserved"` // resources kept from pods
	Labels     map[string]string `yaml:"labels"`
	Runc       string            `yaml:"runc"` // empty: beside our executable, then in PATH
	Shim       string            `yaml:"shim"`
	SeccompDir string            `yaml:"seccompDir"`

	KeepSecrets bool `yaml:"keepSecrets"` // on the disk, for starts without the cluster

	AllowedUnsafeSysctls []string `yaml:"allowedUnsafeSysctls"` // names, or prefixes that end in '*'

	LogMaxSize         int64    `yaml:"logMaxSize"` // bytes
	LogMaxFiles        int      `yaml:"logMaxFiles"`
	InsecureRegistries []string `yaml:"insecureRegistries"`
	RegistriesFile     string   `yaml:"registriesFile"` // like k3s' registries.yaml; read at each pull
	RegistriesDir      string   `yaml:"registriesDir"`  // like containerd's certs.d; read at each pull

	ImageGCHighThresholdPercent int          `yaml:"imageGCHighThresholdPercent"`
	ImageGCLowThresholdPercent  int          `yaml:"imageGCLowThresholdPercent"`
	ImageMinimumGCAge           kit.Duration `yaml:"imageMinimumGCAge"`
	ImageMaximumGCAge           kit.Duration `yaml:"imageMaximumGCAge"`

	EvictionHard                     map[string]string `yaml:"evictionHard"` // by signal: a quantity or a percentage
	EvictionSoft                     map[string]string `yaml:"evictionSoft"`
	EvictionSoftGracePeriod          map[string]string `yaml:"evictionSoftGracePeriod"` // by signal: a duration
	EvictionMinimumReclaim           map[string]string `yaml:"evictionMinimumReclaim"`
	EvictionMaxPodGracePeriod        int64             `yaml:"evictionMaxPodGracePeriod"` // seconds
	EvictionPressureTransitionPeriod kit.Duration      `yaml:"evictionPressureTransitionPeriod"`
}

// Default is a node of a cluster with the usual ranges.
func Default() Config {
	return Config{
		Common:        kit.DefaultCommon(),
		DataDir:       "/var/lib/kubus",
		ClusterDNS:    []string{"10.96.0.10"},
		ClusterDomain: "cluster.local",
		PodCIDR:       "10.244.0.0/16",
		ResolvConf:    "/etc/resolv.conf",
		MaxPods:       110,
		PodPids:       4096,
		KeepSecrets:   true,
		SeccompDir:    "/var/lib/kubus/seccomp",
		LogMaxSize:    10 << 20,
		LogMaxFiles:   5,

		RegistriesFile: "/etc/kubus/registries.yaml",
		RegistriesDir:  "/etc/kubus/certs.d",

		ImageGCHighThresholdPercent: 85,
		ImageGCLowThresholdPercent:  80,
		ImageMinimumGCAge:           kit.Duration(2 * time.Minute),

		EvictionHard:                     eviction.DefaultHard(),
		EvictionPressureTransitionPeriod: kit.Duration(5 * time.Minute),
	}
}

var instanceName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// Validate fills in what empty fields mean and gives all problems at once.
func (c *Config) Validate() error {
	var problems []error
	if c.Node == "" {
		host, err := os.Hostname()
		if err != nil {
			problems = append(problems, fmt.Errorf("node: the host's name is not known: %w", err))
		}
		c.Node = strings.ToLower(host)
	}
	if msgs := validation.IsDNS1123Subdomain(c.Node); len(msgs) > 0 {
		problems = append(problems, fmt.Errorf("node: %q: %s", c.Node, strings.Join(msgs, ", ")))
	}
	if c.Instance == "" {
		c.Instance = strings.ReplaceAll(c.Node, ".", "-")
	}
	if !instanceName.MatchString(c.Instance) {
		problems = append(problems, fmt.Errorf("instance: %q must be a short name of lower-case letters, digits and '-'", c.Instance))
	}
	if !filepath.IsAbs(c.DataDir) {
		problems = append(problems, fmt.Errorf("dataDir: %q is not an absolute path", c.DataDir))
	}
	if c.LogDir == "" {
		c.LogDir = filepath.Join(c.DataDir, "agent", "logs")
	}
	if c.StaticPodPath != "" && !filepath.IsAbs(c.StaticPodPath) {
		c.StaticPodPath = filepath.Join(c.DataDir, c.StaticPodPath)
	}
	if c.NodeIP == "" {
		ip, err := defaultIP()
		if err != nil {
			problems = append(problems, fmt.Errorf("nodeIP: %w: name one", err))
		}
		c.NodeIP = ip
	} else if _, err := netip.ParseAddr(c.NodeIP); err != nil {
		problems = append(problems, fmt.Errorf("nodeIP: %w", err))
	}
	for i, s := range c.ClusterDNS {
		if _, err := netip.ParseAddr(s); err != nil {
			problems = append(problems, fmt.Errorf("clusterDNS[%d]: %w", i, err))
		}
	}
	if c.PodCIDR != "" {
		if _, err := netip.ParsePrefix(c.PodCIDR); err != nil {
			problems = append(problems, fmt.Errorf("podCIDR: %w", err))
		}
	}
	for i, s := range c.AllowedUnsafeSysctls {
		if pod.SysctlNamespace(pod.SysctlName(s)) == "" {
			problems = append(problems, fmt.Errorf("allowedUnsafeSysctls[%d]: %q is not known to be namespaced", i, s))
		}
	}
	if c.Overhead < 0 || c.Overhead > 200 {
		problems = append(problems, fmt.Errorf("overhead: %d bytes, must be 0 to 200", c.Overhead))
	}
	if c.MaxPods < 1 {
		problems = append(problems, fmt.Errorf("maxPods: %d, must be at least 1", c.MaxPods))
	}
	if _, err := c.reserved(); err != nil {
		problems = append(problems, err)
	}
	if err := c.imageGC().Validate(); err != nil {
		problems = append(problems, err)
	}
	if _, err := c.thresholds(); err != nil {
		problems = append(problems, err)
	}
	if c.EvictionMaxPodGracePeriod < 0 {
		problems = append(problems, fmt.Errorf("evictionMaxPodGracePeriod: %d seconds, must not be negative", c.EvictionMaxPodGracePeriod))
	}
	return errors.Join(problems...)
}

// imageMinFree is what pulls leave of the disk: the part above the collector's high threshold, and no more than keeps
// everything else on the node going, since a large disk that is nine tenths full is no emergency.
func (c *Config) imageMinFree() int64 {
	const most = 4 << 30
	var fs unix.Statfs_t
	if c.ImageGCHighThresholdPercent >= 100 || unix.Statfs(c.DataDir, &fs) != nil {
		return 0
	}
	return min(int64(fs.Blocks)*fs.Bsize/100*int64(100-c.ImageGCHighThresholdPercent), most)
}

func (c *Config) thresholds() ([]eviction.Threshold, error) {
	return eviction.Settings{
		Hard: c.EvictionHard, Soft: c.EvictionSoft, SoftGrace: c.EvictionSoftGracePeriod, MinimumReclaim: c.EvictionMinimumReclaim,
	}.Thresholds()
}

func (c *Config) reserved() (corev1.ResourceList, error) {
	out := corev1.ResourceList{}
	for name, text := range c.Reserved {
		q, err := resource.ParseQuantity(text)
		if err != nil {
			return nil, fmt.Errorf("reserved.%s: %w", name, err)
		}
		out[corev1.ResourceName(name)] = q
	}
	return out, nil
}

// defaultIP is the address that traffic to the world would leave from; without a
// route, the first address that is not loopback. Nothing is sent.
func defaultIP() (string, error) {
	if conn, err := net.Dial("udp4", "192.0.2.1:9"); err == nil {
		defer func() { _ = conn.Close() }()
		if a, ok := conn.LocalAddr().(*net.UDPAddr); ok {
			return a.IP.String(), nil
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("the host's addresses are not known: %w", err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			return n.IP.String(), nil
		}
	}
	return "", errors.New("the host has no IPv4 address besides loopback")
}
