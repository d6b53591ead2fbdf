package proto

// Role is one kind of bus client: the subjects it may publish and subscribe to.
// Embedded and external servers are configured from this one table.
type Role struct {
	Name       string
	Node       string   // of an agent; part of its inbox
	Identities []string // Kubernetes users it may speak as on api.<identity>.>
	Publish    []string // beyond what all may
	Subscribe  []string
	// Reads lists the state streams it may consume.
	Reads []string
}

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
		"deployment-controller", "replicaset-controller", "endpointslice-controller", "endpoint-controller", "endpointslicemirroring-controller",
		"namespace-controller", "service-account-controller", "root-ca-cert-publisher",
		"generic-garbage-collector", "node-controller", "pod-garbage-collector",
	}
	for i, name := range names {
		names[i] = ControllerUser(name)
	}
	return names
}

// Client is the name under which a process of the role connects.
func (r Role) Client() string {
	if r.Node != "" {
		return AgentName(r.Node)
	}
	return r.Name
}

// Roles of the control plane and of a node named node.
func Roles(node string) []Role {
	return []Role{
		{Name: gatewayName, Publish: []string{"state.>", "state_leases.>", "state_events.>", "state_fence.>", "state_fence_use.>", "state_barrier.>", "watermark.>", "audit.>", GatewayHelloSubject, "node.*.tunnel", "$JS.API.>"},
			Subscribe: []string{APISubjects, HeartbeatSubjects}, Reads: []string{"STATE", "LEASES", "EVENTS"}},
		{Name: "controllers", Identities: Controllers(), Publish: []string{"heartbeat.leader.>"},
			Subscribe: []string{HeartbeatSubjects, "heartbeat.leader.>"}, Reads: []string{"STATE", "LEASES"}},
		{Name: "scheduler", Identities: []string{SchedulerUser}, Publish: []string{"heartbeat.leader.>", "scheduler.>"},
			Subscribe: []string{"heartbeat.leader.>", "scheduler.>"}, Reads: []string{"STATE"}},
		{Name: "status", Identities: []string{StatusUser}, Publish: []string{"heartbeat.leader.>"},
			Subscribe: []string{HeartbeatSubjects, "heartbeat.leader.>"}, Reads: []string{"STATE", "REPORTS"}},
		{Name: "cloud", Identities: []string{CloudUser}, Publish: []string{"heartbeat.leader.>"},
			Subscribe: []string{"heartbeat.leader.>"}, Reads: []string{"STATE"}},
		{Name: "events", Identities: []string{EventsUser}, Publish: []string{"events.>", "heartbeat.leader.>", "$JS.API.STREAM.INFO.CHANGES", "$JS.API.STREAM.MSG.GET.CHANGES"},
			Subscribe: []string{"heartbeat.leader.>"}, Reads: []string{"STATE", "LEASES", "EVENTS"}},
		{Name: "proxy", Subscribe: []string{}, Reads: []string{"STATE"}},
		{Name: "dns", Identities: []string{DNSUser}, Subscribe: []string{}, Reads: []string{"STATE"}},
		{Name: agentName, Node: node, Identities: []string{NodeUser(node)},
			Publish:   []string{HeartbeatSubject(node), "report." + Token(node) + ".>"},
			Subscribe: []string{NodeTunnelSubject(node)}},
		{Name: "automation", Subscribe: []string{"events.>"}, Reads: []string{"CHANGES"}},
	}
}
