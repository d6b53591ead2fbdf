package proto

import "slices"

// ControllerGroup is a part of the controllers: it is led as one, and has a credential of
// its own, which speaks as its controllers' users and as nobody else.
type ControllerGroup struct {
	Name string
	// Users are the ServiceAccounts of its controllers, as upstream's bootstrap RBAC names
	// them. The first takes the group's fence.
	Users []string
	// Publish and Subscribe are subjects beyond those of its leader.
	Publish, Subscribe []string
	Reads              []Read
}

// ControllerGroups lists the groups. Two of them hold much by what they do: "objects"
// lists and changes what it does not know, so all Secrets are open to it; "credentials"
// gives out tokens, certificates and roles.
func ControllerGroups() []ControllerGroup {
	state := func(resources ...[]GroupResource) []Read {
		return []Read{{Stream: StateStream.Name, Resources: slices.Concat(resources...)}}
	}
	of := func(group string, resources ...string) (all []GroupResource) {
		for _, resource := range resources {
			all = append(all, GroupResource{group, resource})
		}
		return all
	}
	return []ControllerGroup{
		{
			Name: "workloads",
			Users: []string{
				"deployment-controller", "replicaset-controller", "replication-controller", "job-controller", "cronjob-controller", "statefulset-controller", "daemon-set-controller",
			},
			Reads: state(of("", "pods", "nodes", "persistentvolumeclaims", "replicationcontrollers"), of("batch", "jobs", "cronjobs"),
				of("apps", "deployments", "replicasets", "statefulsets", "daemonsets", "controllerrevisions")),
		},
		{
			Name:  "network",
			Users: []string{"endpointslice-controller", "endpoint-controller", "endpointslicemirroring-controller", "service-cidrs-controller"},
			Reads: state(of("", "pods", "nodes", "services", "endpoints"), of("discovery.k8s.io", "endpointslices"), of("networking.k8s.io", "servicecidrs", "ipaddresses")),
		},
		{
			Name: "lifecycle",
			Users: []string{
				"pod-garbage-collector", "ttl-after-finished-controller", "service-account-controller", "root-ca-cert-publisher", "disruption-controller",
				"resource-claim-controller", "device-taint-eviction-controller",
			},
			Reads: state(of("", "pods", "nodes", "namespaces", "serviceaccounts", "configmaps", "replicationcontrollers"), of("apps", "deployments", "replicasets", "statefulsets"),
				of("batch", "jobs"), of("policy", "poddisruptionbudgets"), of("resource.k8s.io", "resourceclaims", "resourceclaimtemplates", "resourceslices", "devicetaintrules")),
		},
		{
			Name:  objectsGroup,
			Users: []string{"generic-garbage-collector", "namespace-controller", "resourcequota-controller", "storage-version-migrator-controller"},
			Reads: append(state(), Read{Stream: LeasesStream.Name}),
		},
		{
			Name: "credentials",
			Users: []string{
				"certificate-controller", "podcertificaterequestcleaner", "kube-apiserver-serving-clustertrustbundle-publisher", "clusterrole-aggregation-controller",
				"bootstrap-signer", "token-cleaner", "tokens-controller", "legacy-service-account-token-cleaner",
			},
			Reads: state(of("", "secrets", "serviceaccounts", "configmaps", "pods"), of("rbac.authorization.k8s.io", "clusterroles"),
				of("certificates.k8s.io", "certificatesigningrequests", "podcertificaterequests", "clustertrustbundles")),
		},
		{
			Name: "storage",
			Users: []string{
				"persistent-volume-binder", "pvc-protection-controller", "pv-protection-controller", "volumeattributesclass-protection-controller",
				"expand-controller", "ephemeral-volume-controller", "attachdetach-controller",
			},
			Publish: []string{"node.*.volume"},
			Reads: state(of("", "pods", "nodes", "persistentvolumes", "persistentvolumeclaims"),
				of("storage.k8s.io", "storageclasses", "csidrivers", "volumeattachments", "volumeattributesclasses")),
		},
		{
			Name:      "nodes",
			Users:     []string{"node-controller"},
			Subscribe: []string{HeartbeatSubjects},
			Reads:     append(state(of("", "pods", "nodes")), Read{Stream: LeasesStream.Name}),
		},
		{
			Name:      "autoscaling",
			Users:     []string{"horizontal-pod-autoscaler"},
			Subscribe: []string{UsageFreshSubject},
			Reads:     state(of("", "pods"), of("autoscaling", "horizontalpodautoscalers")),
		},
	}
}

// objectsGroup is the group that reads all of the log's objects.
const objectsGroup = "objects"

const saPrefix = "system:serviceaccount:kube-system:"

// ControllerUser is the Kubernetes user of a built-in controller, as upstream's
// bootstrap RBAC names it.
func ControllerUser(controller string) string { return saPrefix + controller }

// ControllersRole is the role of a group of controllers.
func ControllersRole(group string) string { return controllersName + group }

const controllersName = "controllers-"

// ControllersFence is the fence of the leader of a group of controllers.
func ControllersFence(group string) string { return "controllers-" + group }

// ControllersLeader is the user that takes the fence of a group; "" for no group.
func ControllersLeader(group string) string {
	groups := ControllerGroups()
	i := slices.IndexFunc(groups, func(g ControllerGroup) bool { return g.Name == group })
	if i < 0 {
		return ""
	}
	return ControllerUser(groups[i].Users[0])
}

func (g ControllerGroup) role() Role {
	r := Role{
		Name: ControllersRole(g.Name), Publish: append(leading(ControllersFence(g.Name)), g.Publish...),
		Subscribe: append(leading(ControllersFence(g.Name)), g.Subscribe...), Reads: g.Reads,
	}
	r.Reads[0].Fences = []string{ControllersFence(g.Name)}
	if g.Name == objectsGroup { // a process reads by it for the others, too
		r.Reads[0].Fences = nil
		for _, other := range ControllerGroups() {
			r.Reads[0].Fences = append(r.Reads[0].Fences, ControllersFence(other.Name))
		}
	}
	for _, user := range g.Users {
		r.Identities = append(r.Identities, ControllerUser(user))
	}
	return r
}

// leading are the subjects by which a leader and its standbys hear of each other.
func leading(fences ...string) (subjects []string) {
	for _, fence := range fences {
		subjects = append(subjects, LeaderSubject(fence))
	}
	return subjects
}
