package proto

import (
	"slices"
	"strings"
)

// Role is one kind of bus client: the subjects it may publish and subscribe to, in an
// account of its own. Embedded and external servers are configured from this one table.
type Role struct {
	Name       string
	Node       string   // of an agent or a proxy, which each node has its own of; part of its inbox
	Identities []string // Kubernetes users it may speak as on api.<identity>.>
	Publish    []string // beyond what all may
	Subscribe  []string
	// Reads lists what of the log gateways let it read.
	Reads []Read
	// Stream is the one that its account keeps, "" for none, and Owns tells that it
	// makes that stream itself; otherwise it may only consume it.
	Stream string
	Owns   bool
}

// Read is a part of one state stream. No Resources is all objects of it.
type Read struct {
	Stream    string
	Resources []GroupResource
	// Fences are those of which it hears who holds them, and so from where on in the log.
	Fences []string
}

const (
	operatorName   = "operator"
	statusName     = "status"
	eventsName     = "events"
	metricsName    = "metrics"
	automationName = "automation"
)

// NodeUser is the Kubernetes user of a node's agent.
func NodeUser(node string) string { return "system:node:" + node }

// Users of services that have one identity.
const (
	SchedulerUser = "system:kube-scheduler"
	StatusUser    = saPrefix + "kubus-status"
	CloudUser     = saPrefix + "cloud-provider"
	EventsUser    = saPrefix + "kubus-events"
	DNSUser       = saPrefix + "coredns" // keeps the Service and EndpointSlices of the cluster's DNS
)

// Client is the name under which a process of the role connects.
func (r Role) Client() string {
	if r.Node != "" {
		return r.Name + "/" + r.Node
	}
	return r.Name
}

// Peers are the names under which it has tunnels with gateways: its users, and itself
// where it reads the log.
func (r Role) Peers() []string {
	peers := r.Identities[:len(r.Identities):len(r.Identities)]
	if len(r.Reads) > 0 {
		peers = append(peers, r.Client())
	}
	return peers
}

// Reader gives what of the log the client of that name may read; nil is nothing.
func Reader(client string) []Read {
	name, _, ofNode := strings.Cut(client, "/")
	for _, r := range Roles("") {
		if r.Name == name && ofNode == (name == agentName || name == proxyName) {
			return r.Reads
		}
	}
	return nil
}

// May tells whether the resource of a stream is among what may be read.
func May(reads []Read, stream string, gr GroupResource) bool {
	for _, read := range reads {
		if read.Stream == stream && (len(read.Resources) == 0 || slices.Contains(read.Resources, gr)) {
			return true
		}
	}
	return false
}

// What several services read.
var (
	pods           = GroupResource{Resource: "pods"}
	nodes          = GroupResource{Resource: "nodes"}
	services       = GroupResource{Resource: "services"}
	namespaces     = GroupResource{Resource: "namespaces"}
	endpointSlices = GroupResource{Group: "discovery.k8s.io", Resource: "endpointslices"}
	policies       = GroupResource{Group: "networking.k8s.io", Resource: "networkpolicies"}
	claims         = GroupResource{Resource: "persistentvolumeclaims"}
	volumes        = GroupResource{Resource: "persistentvolumes"}
	storageClasses = GroupResource{Group: "storage.k8s.io", Resource: "storageclasses"}
	budgets        = GroupResource{Group: "policy", Resource: "poddisruptionbudgets"}
	csiNodes       = GroupResource{Group: "storage.k8s.io", Resource: "csinodes"}
	csiDrivers     = GroupResource{Group: "storage.k8s.io", Resource: "csidrivers"}
	capacities     = GroupResource{Group: "storage.k8s.io", Resource: "csistoragecapacities"}
)

// Roles of the control plane and of the nodes of these names.
func Roles(nodes ...string) []Role {
	roles := controlPlane()
	for _, node := range nodes {
		roles = append(roles, NodeRoles(node)...)
	}
	return append(roles, Role{Name: automationName, Subscribe: []string{"events.>"}, Stream: ChangesStream.Name})
}

// NodeRoles are those of one node. None of them can do anything as another node.
func NodeRoles(node string) []Role {
	return []Role{
		{Name: proxyName, Node: node, Subscribe: []string{}, Reads: []Read{{Stream: StateStream.Name, Resources: []GroupResource{services, endpointSlices, nodes, policies, pods, namespaces}}}},
		{Name: agentName, Node: node, Identities: []string{NodeUser(node)},
			Publish:   []string{HeartbeatSubject(node), UsageSubject(node), "report." + Token(node) + ".>"},
			Subscribe: []string{NodeTunnelSubject(node), NodeVolumeSubject(node), UsageSampleSubject}},
	}
}

func controlPlane() []Role {
	state := func(resources ...GroupResource) []Read {
		return []Read{{Stream: StateStream.Name, Resources: resources}}
	}
	roles := []Role{
		{Name: gatewayName, Publish: []string{"state.>", "state_leases.>", "state_events.>", "state_fence.>", "state_fence_use.>", "state_barrier.>", "watermark.>", "audit.>", GatewayHelloSubject, "node.*.tunnel", MetricsRequestSubject,
			"$JS.API.STREAM.CREATE.*", "$JS.API.STREAM.UPDATE.*", "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.MSG.GET.*", // streams are never deleted nor purged
			"$JS.API.CONSUMER.CREATE.*.>", "$JS.API.CONSUMER.INFO.*.*", "$JS.API.CONSUMER.DELETE.*.*", "$JS.API.CONSUMER.MSG.NEXT.*.*"},
			Subscribe: []string{APISubjects, LogSubjects, HeartbeatSubjects, GatewayHelloSubject, "watermark.>", "$JS.EVENT.ADVISORY.STREAM.>"}},
	}
	for _, g := range ControllerGroups() {
		roles = append(roles, g.role())
	}
	scheduler := append(leading("scheduler-broker", "scheduler-planner"), SchedulerTakeSubject(), SchedulerDoneSubject(), SchedulerPlanSubject(), SchedulerReadySubject())
	return append(roles, []Role{
		{Name: "scheduler", Identities: []string{SchedulerUser}, Publish: scheduler, Subscribe: scheduler,
			Reads: state(pods, nodes, claims, volumes, storageClasses, namespaces, budgets, services, csiNodes, csiDrivers, capacities)},
		{Name: statusName, Identities: []string{StatusUser}, Publish: leading("status"),
			Subscribe: append(leading("status"), HeartbeatSubjects), Reads: state(pods, nodes), Stream: ReportsStream.Name, Owns: true},
		{Name: "cloud", Identities: []string{CloudUser}, Publish: leading("cloud"), Subscribe: leading("cloud"), Reads: state(nodes, services)},
		{Name: eventsName, Identities: []string{EventsUser}, Publish: append(append(leading("events"), "events.>"), changesRequests()...),
			Subscribe: leading("events"), Reads: append(state(), Read{Stream: LeasesStream.Name}, Read{Stream: EventsStream.Name})},
		{Name: metricsName, Publish: []string{UsageSampleSubject, UsageFreshSubject, answers + ">"}, // answers to gateways
			Subscribe: []string{UsageSubjects, MetricsRequestSubject}, Reads: state(pods, nodes)},
		{Name: "dns", Identities: []string{DNSUser}, Subscribe: []string{}, Reads: state(services, namespaces, endpointSlices)},
	}...)
}

func changesRequests() []string {
	var out []string
	for _, request := range changesAPI {
		out = append(out, StreamAPI(eventsName)+"."+request+ChangesStream.Name)
	}
	return out
}
