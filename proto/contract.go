package proto

// Use is one kind of subject: who publishes there, who subscribes, and what.
type Use struct{ Subject, From, To, What string }

// Contract lists every kind of subject, with names in capitals for what varies: NODE,
// USER, PEER, CLIENT, STREAM, CLUSTER, NAMESPACE, NAME, WRITER, VERB. The table of docs/contracts.md and
// the matrix of rights (package store) are made from it.
func Contract() []Use {
	pod := Key{GroupResource{"", "pods"}, "NAMESPACE", "NAME"}
	lease, event := Key{Leases, "NAMESPACE", "NAME"}, Key{Events, "NAMESPACE", "NAME"}
	return []Use{
		{pod.Subject(), "gateway", "gateways' views; others by `log.CLIENT.read`", "one version of an object; JSON without resourceVersion; header `" + HeaderOperation + ": " + OperationCreate + "` on an object's first version, `" + OperationDelete + "` on its tombstone; `" + HeaderSignature + "` proves that a gateway wrote it ([ADR 7](adr/0007-signed-log.md))"},
		{lease.Subject(), "gateway", "the same", "the same for Leases"},
		{event.Subject(), "gateway", "the same", "the same for Events"},
		{FenceSubject("NAME"), "gateway", "gateways' views", "who holds a fence; the sequence is its epoch; signed as objects are"},
		{FenceUseSubject("NAME"), "gateway", "-", "touched by each fenced commit, which so checks the fence"},
		{BarrierSubject("STREAM", "WRITER"), "gateway", "-", "empty; a stream's first message, and in clusters of servers a read index by its sequence"},
		{WatermarkSubject("STREAM"), "gateway", "gateways' views", "core; decimal sequence up to which the stream is on disk"},
		{APIRequestSubject("USER"), "services, agents, automation", "one gateway", "core request and reply; ApiRequest, ApiResponse"},
		{APIBulkSubject("USER"), "services", "one gateway", "core request and reply; BulkRequest, ApiResponse around BulkResponse"},
		{APIFenceSubject("USER"), "services", "one gateway", "core request and reply; AcquireFence, ApiResponse around FenceState"},
		{APITunnelSubject("USER"), "services, agents, automation", "one gateway", "opening of a tunnel (TunnelOpen); the response comes as HTTP/1.1 on channel 1"},
		{LogStateSubject("CLIENT"), "services", "one gateway", "core request and reply; how far a stream reaches (package feed)"},
		{LogReadSubject("CLIENT"), "services", "one gateway", "opening of a tunnel; messages of a stream, of what the client may read, come on channel 1"},
		{GatewayHelloSubject, "gateway", "agents, whoever holds a tunnel", "core; a gateway began to answer: beat, ask whether the one spoken to is still there"},
		{NodeTunnelSubject("NODE"), "gateway", "the node's agent", "opening of a tunnel for exec, attach, log, portforward, proxy (NodeRequest)"},
		{NodeVolumeSubject("NODE"), "the volume binder", "the node's agent", "core request and reply; VolumeRequest, VolumeResponse: a folder for a persistent volume of class local"},
		{HeartbeatSubject("NODE"), "agent", "node controller, status service, gateway", "core, every 10 s and when a gateway began; Heartbeat; never stored"},
		{UsageSampleSubject, "metrics service", "agents", "core; read what the node uses: every 15 s, every 2 s while somebody reads metrics"},
		{UsageSubject("NODE"), "agent", "metrics service", "core; NodeUsage, as asked for; never stored"},
		{UsageFreshSubject, "metrics service", "the controller of HorizontalPodAutoscalers", "core; empty: samples of all nodes that answer have come"},
		{MetricsRequestSubject, "gateway", "one metrics service", "core request and reply; ApiRequest below `/apis/metrics.k8s.io/v1beta1`, authorized; ApiResponse, its body gzip when that is smaller"},
		{LeaderSubject("NAME"), "the holder of a fence", "its standbys", "core, every 2 s; never stored"},
		{PodReportSubject("NODE", "NAMESPACE", "NAME"), "agent", "status service", "PodReport: the whole status; sent again after a reconnect"},
		{NodeReportSubject("NODE"), "agent", "status service", "NodeReport: the node as the agent would create it"},
		{ChangeSubject("CLUSTER", pod, "VERB"), "events service", "automation", "CloudEvent 1.0, binary mode, of one committed change"},
		{AuditSubject("VERB", "RESOURCE"), "gateway", "the operator", "one stage of a request to the API; audit.k8s.io/v1 Event, JSON; only where a policy asks for it"},
		{StreamAPI(eventsName) + ".VERB", "events service", "the store", "requests for stream CHANGES, in the account of automation"},
		{SchedulerTakeSubject(), "scheduler workers elsewhere", "the active broker", "core request and reply; the answer waits until there is work"},
		{SchedulerDoneSubject(), "scheduler workers elsewhere", "the active broker", "core request and reply; what became of an evaluation"},
		{SchedulerPlanSubject(), "scheduler workers elsewhere", "the active planner", "core request and reply; the answer comes after the commit"},
		{SchedulerReadySubject(), "a new broker or planner", "scheduler workers elsewhere", "core; ask again, the old one may have died"},
		{InboxPrefix("ROLE") + ".NAME", "whoever was asked", "the role", "answers; an agent's are below `" + InboxPrefix(AgentName("NODE")) + "`, a proxy's below `" + InboxPrefix(ProxyName("NODE")) + "`"},
		{GatewayInbox("PEER") + ".NAME", "the role that is PEER", "gateway", "a tunnel's frames to a gateway; PEER is a user, or a client that reads the log"},
		{PeerInbox("PEER") + ".NAME", "gateway", "the role that is PEER", "a tunnel's frames to this client"},
	}
}
