package roster

import (
	"net"
	"strconv"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/gateway"
	"kubus.dev/proto"
	"kubus.dev/proto/cluster"
	"kubus.dev/services/agent"
	"kubus.dev/services/cloud"
	"kubus.dev/services/controllers"
	"kubus.dev/services/dns"
	"kubus.dev/services/events"
	"kubus.dev/services/metrics"
	"kubus.dev/services/proxy"
	"kubus.dev/services/scheduler"
	"kubus.dev/services/status"
)

// GatewayName is the row that the all-in-one process starts first and in its own
// way: the others call it without a socket.
const GatewayName = "gateway"

// The rows that each node has.
const (
	AgentName = "agent"
	ProxyName = "proxy"
)

// All lists every service, in the order in which they are started. Each service
// has one instance here, which the keeper or the process guarantees, so none has
// to wait for a leader.
func All() []Service {
	return []Service{
		row(GatewayName, Anywhere, gateway.Default, configureGateway, gateway.Run,
			func(c *gateway.Config) cluster.Options {
				o := options(c.Bus, "gateway", gateway.AdminUser)
				o.Store, o.SigningKeyFile, o.AdoptFile = true, c.Signing.KeyFile, c.Signing.AdoptFile
				return o
			}),
		row("status", Anywhere, status.Default,
			func(c *status.Config, i *instance.Instance, _ instance.Node) {
				c.Common, c.Instance, c.LeaderElection = common(i, "status"), i.ID, false
				if i.Nodes > 0 {
					c.NodeAddresses = []string{i.NodeIP}
					if i.NodeCIDR != "" {
						c.NodeAddresses = append(c.NodeAddresses, i.NodeCIDR)
					}
				}
			}, status.Run,
			func(c *status.Config) cluster.Options {
				return options(c.Bus, "status", proto.StatusUser, status.Reads()...)
			}),
		row("controllers", Anywhere, controllers.Default,
			func(c *controllers.Config, i *instance.Instance, _ instance.Node) {
				c.Common, c.Instance, c.LeaderElection = common(i, "controllers"), i.ID, false
				c.Bus.NkeySeedFile = BusKey(i, proto.ControllersRole("*"))
				c.PodCIDR, c.NodeMaskSize, c.RootCAFile = i.PodCIDR, nodeMask(i.PodCIDR), i.PKI("ca.crt")
				c.SigningCertFile, c.SigningKeyFile = i.PKI("ca.crt"), i.PKI("ca.key")
			}, controllers.Run,
			func(c *controllers.Config) cluster.Options {
				return controllers.Options(c)
			}),
		row("scheduler", Anywhere, scheduler.Default,
			func(c *scheduler.Config, i *instance.Instance, _ instance.Node) {
				c.Common, c.LeaderElection = common(i, "scheduler"), false
			}, scheduler.Run,
			func(c *scheduler.Config) cluster.Options {
				return options(c.Bus, "scheduler", proto.SchedulerUser, scheduler.Resources()...)
			}),
		row("cloud", Anywhere, cloud.Default,
			func(c *cloud.Config, i *instance.Instance, _ instance.Node) {
				c.Common, c.Instance, c.LeaderElection = common(i, "cloud"), i.ID, false
			}, cloud.Run,
			func(c *cloud.Config) cluster.Options {
				return options(c.Bus, "cloud", proto.CloudUser, cloud.Resources()...)
			}),
		row("events", Anywhere, events.Default,
			func(c *events.Config, i *instance.Instance, _ instance.Node) {
				c.Common, c.Instance, c.LeaderElection = common(i, "events"), i.ID, false
			}, events.Run,
			func(c *events.Config) cluster.Options {
				return options(c.Bus, "events", proto.EventsUser)
			}),
		row("metrics", Anywhere, metrics.Default,
			func(c *metrics.Config, i *instance.Instance, _ instance.Node) { c.Common = common(i, "metrics") }, metrics.Run,
			func(c *metrics.Config) cluster.Options {
				return options(c.Bus, "metrics", "", metrics.Reads()...)
			}),
		row("dns", OneNode, dns.Default,
			func(c *dns.Config, i *instance.Instance, _ instance.Node) {
				c.Common, c.Node, c.Instance = common(i, "dns"), i.NodeName, i.ID
				c.Address = net.JoinHostPort(i.NodeIP, strconv.Itoa(i.Ports["dns"]))
				c.ClusterIP, c.OwnReverse = i.ServiceIP(10), []string{i.ServiceCIDR, i.PodCIDR}
				if i.NodeCIDR != "" {
					c.Clients = []string{i.NodeCIDR}
				}
			}, dns.Run,
			func(c *dns.Config) cluster.Options {
				return options(c.Bus, "dns", proto.DNSUser, dns.Reads()...)
			}),
		row(ProxyName, EveryNode, proxy.Default,
			ConfigureProxy, proxy.Run,
			func(c *proxy.Config) cluster.Options {
				o := options(c.Bus, proto.ProxyName(c.Node), "", proxy.Reads()...)
				o.AtTimes = proxy.ReadsAtTimes()
				return o
			}),
		row(AgentName, EveryNode, agent.Default, ConfigureAgent, agent.Run,
			func(c *agent.Config) cluster.Options {
				o := options(c.Bus, proto.AgentName(c.Node), proto.NodeUser(c.Node))
				o.NoLog, o.Later = true, true
				return o
			}),
	}
}

func configureGateway(c *gateway.Config, i *instance.Instance, _ instance.Node) {
	c.Common = common(i, GatewayName)
	c.API.Listen, c.API.AlsoListen = i.Listen, i.NodeAddress()
	c.API.CertFile, c.API.KeyFile, c.API.ClientCAFile = i.PKI("apiserver.crt"), i.PKI("apiserver.key"), i.PKI("ca.crt")
	if i.Nodes > 0 {
		c.API.Advertise = net.JoinHostPort(i.NodeIP, strconv.Itoa(i.APIPort()))
	}
	c.ServiceCIDR = i.ServiceCIDR
	c.Signing.KeyFile, c.Signing.AdoptFile = i.PKI("log.key"), i.PKI("log.adopt")
	c.SealKeyFile, c.ServiceAccount.KeyFile = i.PKI("secrets.key"), i.PKI("sa.key")
	c.Aggregation.CertFile, c.Aggregation.KeyFile = i.PKI("front-proxy-client.crt"), i.PKI("front-proxy-client.key")
	c.Aggregation.CAFile = i.PKI("front-proxy-ca.crt")
}

// ConfigureAgent is the agent's configuration on a node, also for what is stopped and purged there.
func ConfigureAgent(c *agent.Config, i *instance.Instance, n instance.Node) {
	c.Common = ofNode(i, n, AgentName, proto.AgentName(n.Name))
	c.Node, c.NodeIP, c.Instance = n.Name, n.IP, n.ID
	c.DataDir, c.RunDir = n.Dir, n.RunDir
	c.ClusterDNS, c.PodCIDR = []string{i.ServiceIP(10)}, i.PodCIDR
	c.SeccompDir = i.Path("seccomp") // of the machine, as its kernel
	if n.Own() {                     // kubelet's folders are the machine's
		c.DevicePluginDir, c.PodResourcesDir = n.Path("device-plugins"), n.Path("pod-resources")
	}
	if i.PodNetwork == proxy.VXLAN {
		c.Overhead = proxy.Overhead
	}
}

// ConfigureProxy is the proxy's configuration on a node.
func ConfigureProxy(c *proxy.Config, i *instance.Instance, n instance.Node) {
	c.Common = ofNode(i, n, ProxyName, proto.ProxyName(n.Name))
	c.Node, c.Instance = n.Name, n.ID
	c.ServiceCIDRs, c.PodCIDR, c.DataDir = []string{i.ServiceCIDR}, i.PodCIDR, n.Path("proxy")
	c.PodNetwork = proxy.Routes
	if i.PodNetwork != "" {
		c.PodNetwork = i.PodNetwork
	}
}

// nodeMask is the prefix length of a node's share of the pod range: a /24, or less
// of a range that is small itself.
func nodeMask(cidr string) int {
	_, n, err := net.ParseCIDR(cidr)
	if err != nil {
		return 24
	}
	bits, _ := n.Mask.Size()
	return max(24, bits)
}
