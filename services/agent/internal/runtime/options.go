package runtime

import (
	"go.uber.org/zap"

	"kubus.dev/services/agent/internal/registry"
)

// Options says where a Runtime keeps its things. New(ctx, Options) makes the Runtime.
type Options struct {
	DataDir  string // the node's data folder; images, layers, containers and state go below DataDir/agent
	RunDir   string // "" for /run/kubus/<Instance>: sockets, network namespaces, runc's state; lost at reboot
	Instance string // short name, unique on the machine: part of the bridge, chain and cgroup names

	Runc     string            // path of runc; "" looks beside our executable, then in PATH
	Shim     string            // path of kubus-shim; "" looks beside our executable, then in PATH
	Handlers map[string]string // other OCI runtimes by RuntimeClass handler

	ClusterCIDR  string            // network of all nodes' pods: traffic to it is not masqueraded; "" for this node's alone
	MTU          int               // of the pod network; 0 takes the uplink's, less Overhead
	Overhead     int               // bytes that the network between nodes adds to each packet
	LogMaxSize   int64             // bytes of one log file; 0 is 10 MiB
	LogMaxFiles  int               // files kept of one container's log; 0 is 5
	ImageMinFree int64             // bytes of the disk that pulls leave to others; 0 does not look
	Insecure     []string          // registries (host:port) spoken to in plain HTTP, beside those on loopback
	Registries   registry.Settings // files that say where images are asked for
	Logger       *zap.Logger
}
