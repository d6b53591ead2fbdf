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

// Read is a part of one state stream. No Resources is all of it.
type Read struct {
	Stream    string
	Resources []GroupResource
}

const (
	operatorName    = "operator"
	controllersName = "controllers"
	statusName      = "status"
	eventsName      = "events"
	metricsName     = "metrics"
	automationName  = "automation"
)

const saPrefix = "system:serviceaccount:kube-system:"

// ControllerUser is the Kubernetes user of a built-in controller, as upstream's
// bootstrap RBAC names it.
func ControllerUser(controller string) string { return saPrefix + controller }

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

// Controllers lists the users of services/controllers.
func Controllers() []string {
	names := []string{
		"deployment-controller", "replicaset-controller", "replication-controller", "endpointslice-controller", "endpoint-controller", "endpointslicemirroring-controller",
		"namespace-controller", "service-account-controller", "root-ca-cert-publisher",
		"generic-garbage-collector", "node-controller", "pod-garbage-collector",
		"horizontal-pod-autoscaler",
		"persistent-volume-binder", "pvc-protection-controller", "pv-protection-controller", "volumeattributesclass-protection-controller",
		"expand-controller", "ephemeral-volume-controller", "attachdetach-controller",
		"job-controller", "cronjob-controller", "ttl-after-finished-controller",
		"resourcequota-controller", "disruption-controller", "storage-version-migrator-controller", "resource-claim-controller", "device-taint-eviction-controller",
		"clusterrole-aggregation-controller", "certificate-controller", "podcertificaterequestcleaner", "kube-apiserver-serving-clustertrustbundle-publisher",
		"bootstrap-signer", "token-cleaner", "tokens-controller", "legacy-service-account-token-cleaner", "service-cidrs-controller",
		"statefulset-controller", "daemon-set-controller",
	}
	for i, name := range names {
		names[i] = ControllerUser(name)
	}
	return names
}

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
		{Name: proxyName, Node: node, Subscribe: []string{}, Reads: []Read{{StateStream.Name, []GroupResource{services, endpointSlices, nodes}}}},
		{Name: agentName, Node: node, Identities: []string{NodeUser(node)},
			Publish:   []string{HeartbeatSubject(node), UsageSubject(node), "report." + Token(node) + ".>"},
			Subscribe: []string{NodeTunnelSubject(node), NodeVolumeSubject(node), UsageSampleSubject}},
	}
}

func controlPlane() []Role {
	state := func(resources ...GroupResource) []Read { return []Read{{StateStream.Name, resources}} }
	return []Role{
		{Name: gatewayName, Publish: []string{"state.>", "state_leases.>", "state_events.>", "state_fence.>", "state_fence_use.>", "state_barrier.>", "watermark.>", "audit.>", GatewayHelloSubject, "node.*.tunnel", MetricsRequestSubject, "$JS.API.>"},
			Subscribe: []string{APISubjects, LogSubjects, HeartbeatSubjects, GatewayHelloSubject, "watermark.>", "$JS.EVENT.ADVISORY.STREAM.>"}},
		{Name: controllersName, Identities: Controllers(), Publish: []string{"heartbeat.leader.>", "node.*.volume"},
			Subscribe: []string{HeartbeatSubjects, "heartbeat.leader.>", UsageFreshSubject}, Reads: append(state(), Read{Stream: LeasesStream.Name})},
		{Name: "scheduler", Identities: []string{SchedulerUser}, Publish: []string{"heartbeat.leader.>", "scheduler.>"},
			Subscribe: []string{"heartbeat.leader.>", "scheduler.>"}, Reads: state(pods, nodes, claims, volumes, storageClasses, namespaces, budgets, csiNodes, csiDrivers, capacities)},
		{Name: statusName, Identities: []string{StatusUser}, Publish: []string{"heartbeat.leader.>"},
			Subscribe: []string{HeartbeatSubjects, "heartbeat.leader.>"}, Reads: state(pods, nodes), Stream: ReportsStream.Name, Owns: true},
		{Name: "cloud", Identities: []string{CloudUser}, Publish: []string{"heartbeat.leader.>"},
			Subscribe: []string{"heartbeat.leader.>"}, Reads: state(nodes, services)},
		{Name: eventsName, Identities: []string{EventsUser}, Publish: append([]string{"events.>", "heartbeat.leader.>"}, changesRequests()...),
			Subscribe: []string{"heartbeat.leader.>"}, Reads: append(state(), Read{Stream: LeasesStream.Name}, Read{Stream: EventsStream.Name})},
		{Name: metricsName, Publish: []string{UsageSampleSubject, UsageFreshSubject, answers + ">"}, // answers to gateways
			Subscribe: []string{UsageSubjects, MetricsRequestSubject}, Reads: state(pods, nodes)},
		{Name: "dns", Identities: []string{DNSUser}, Subscribe: []string{}, Reads: state(services, namespaces, endpointSlices)},
	}
}

func changesRequests() []string {
	var out []string
	for _, request := range changesAPI {
		out = append(out, StreamAPI(eventsName)+"."+request+ChangesStream.Name)
	}
	return out
}
