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

// All lists every service, in the order in which they are started. Each service
// has one instance here, which the keeper or the process guarantees, so none has
// to wait for a leader.
func All() []Service {
	return []Service{
		row(GatewayName, false, gateway.Default, configureGateway, gateway.Run,
			func(c *gateway.Config) cluster.Options {
				o := options(c.Bus, "gateway", gateway.AdminUser)
				o.Store, o.SigningKeyFile, o.AdoptFile = true, c.Signing.KeyFile, c.Signing.AdoptFile
				return o
			}),
		row("status", false, status.Default,
			func(c *status.Config, i *instance.Instance) {
				c.Common, c.Instance, c.LeaderElection = common(i, "status"), i.ID, false
				if i.Nodes > 0 {
					c.NodeAddresses = []string{i.NodeIP}
				}
			}, status.Run,
			func(c *status.Config) cluster.Options {
				return options(c.Bus, "status", proto.StatusUser, status.Reads()...)
			}),
		row("controllers", false, controllers.Default,
			func(c *controllers.Config, i *instance.Instance) {
				c.Common, c.Instance, c.LeaderElection = common(i, "controllers"), i.ID, false
				c.Bus.NkeySeedFile = BusKey(i, proto.ControllersRole("*"))
				c.PodCIDR, c.NodeMaskSize, c.RootCAFile = i.PodCIDR, nodeMask(i.PodCIDR), i.PKI("ca.crt")
				c.SigningCertFile, c.SigningKeyFile = i.PKI("ca.crt"), i.PKI("ca.key")
			}, controllers.Run,
			func(c *controllers.Config) cluster.Options {
				return controllers.Options(c)
			}),
		row("scheduler", false, scheduler.Default,
			func(c *scheduler.Config, i *instance.Instance) {
				c.Common, c.LeaderElection = common(i, "scheduler"), false
			}, scheduler.Run,
			func(c *scheduler.Config) cluster.Options {
				return options(c.Bus, "scheduler", proto.SchedulerUser, scheduler.Resources()...)
			}),
		row("cloud", false, cloud.Default,
			func(c *cloud.Config, i *instance.Instance) {
				c.Common, c.Instance, c.LeaderElection = common(i, "cloud"), i.ID, false
			}, cloud.Run,
			func(c *cloud.Config) cluster.Options {
				return options(c.Bus, "cloud", proto.CloudUser, cloud.Resources()...)
			}),
		row("events", false, events.Default,
			func(c *events.Config, i *instance.Instance) {
				c.Common, c.Instance, c.LeaderElection = common(i, "events"), i.ID, false
			}, events.Run,
			func(c *events.Config) cluster.Options {
				return options(c.Bus, "events", proto.EventsUser)
			}),
		row("metrics", false, metrics.Default,
			func(c *metrics.Config, i *instance.Instance) { c.Common = common(i, "metrics") }, metrics.Run,
			func(c *metrics.Config) cluster.Options {
				return options(c.Bus, "metrics", "", metrics.Reads()...)
			}),
		row("dns", true, dns.Default,
			func(c *dns.Config, i *instance.Instance) {
				c.Common, c.Node, c.Instance = common(i, "dns"), i.NodeName, i.ID
				c.Address = net.JoinHostPort(i.NodeIP, strconv.Itoa(i.Ports["dns"]))
				c.ClusterIP, c.OwnReverse = i.ServiceIP(10), []string{i.ServiceCIDR, i.PodCIDR}
			}, dns.Run,
			func(c *dns.Config) cluster.Options {
				return options(c.Bus, "dns", proto.DNSUser, dns.Reads()...)
			}),
		row("proxy", true, proxy.Default,
			func(c *proxy.Config, i *instance.Instance) {
				c.Common, c.Node, c.Instance = common(i, "proxy"), i.NodeName, i.ID
				c.ServiceCIDRs, c.PodCIDR, c.DataDir = []string{i.ServiceCIDR}, i.PodCIDR, i.Path("proxy")
			}, proxy.Run,
			func(c *proxy.Config) cluster.Options {
				return options(c.Bus, "proxy", "", proxy.Reads()...)
			}),
		row("agent", true, agent.Default, ConfigureAgent, agent.Run,
			func(c *agent.Config) cluster.Options {
				o := options(c.Bus, proto.AgentName(c.Node), proto.NodeUser(c.Node))
				o.NoLog = true
				return o
			}),
	}
}

func configureGateway(c *gateway.Config, i *instance.Instance) {
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

// ConfigureAgent is the agent's configuration, also for what it stops and purges.
func ConfigureAgent(c *agent.Config, i *instance.Instance) {
	c.Common = common(i, "agent")
	c.Node, c.NodeIP, c.Instance = i.NodeName, i.NodeIP, i.ID
	c.DataDir, c.RunDir = i.Dir, i.HostRunDir()
	c.ClusterDNS, c.PodCIDR = []string{i.ServiceIP(10)}, i.PodCIDR
	c.SeccompDir = i.Path("seccomp")
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
