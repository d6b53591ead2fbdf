package controllers

import (
	"kubus.dev/services/controllers/internal/account"
	"kubus.dev/services/controllers/internal/accounttoken"
	"kubus.dev/services/controllers/internal/bootstrap"
	"kubus.dev/services/controllers/internal/certificate"
	"kubus.dev/services/controllers/internal/clusterrole"
	"kubus.dev/services/controllers/internal/cronjob"
	"kubus.dev/services/controllers/internal/daemonset"
	"kubus.dev/services/controllers/internal/deployment"
	"kubus.dev/services/controllers/internal/devicetaint"
	"kubus.dev/services/controllers/internal/disruption"
	"kubus.dev/services/controllers/internal/endpoint"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/garbage"
	"kubus.dev/services/controllers/internal/job"
	"kubus.dev/services/controllers/internal/namespace"
	"kubus.dev/services/controllers/internal/node"
	"kubus.dev/services/controllers/internal/podautoscaler"
	"kubus.dev/services/controllers/internal/podgc"
	"kubus.dev/services/controllers/internal/replicaset"
	"kubus.dev/services/controllers/internal/resourceclaim"
	"kubus.dev/services/controllers/internal/resourcequota"
	"kubus.dev/services/controllers/internal/servicecidr"
	"kubus.dev/services/controllers/internal/statefulset"
	"kubus.dev/services/controllers/internal/storagemigration"
	"kubus.dev/services/controllers/internal/trustbundle"
	"kubus.dev/services/controllers/internal/ttlafterfinished"
	"kubus.dev/services/controllers/internal/volume/attachdetach"
	"kubus.dev/services/controllers/internal/volume/binder"
	"kubus.dev/services/controllers/internal/volume/ephemeral"
	"kubus.dev/services/controllers/internal/volume/expand"
	"kubus.dev/services/controllers/internal/volume/protection"
)

// Groups are all controllers, by what is led as one and has one credential: what may be
// told apart by what it may do is (proto.ControllerGroups).
func Groups() []frame.Group {
	return []frame.Group{
		{Name: "workloads", Controllers: []frame.Definition{
			deployment.Controller(),
			replicaset.Controller(),
			replicaset.ReplicationController(),
			job.Controller(),
			cronjob.Controller(),
			statefulset.Controller(),
			daemonset.Controller(),
		}},
		{Name: "network", Controllers: []frame.Definition{
			endpoint.Slices(),
			endpoint.Legacy(),
			endpoint.Mirrored(),
			servicecidr.Controller(),
		}},
		{Name: "lifecycle", Controllers: []frame.Definition{
			podgc.Controller(),
			ttlafterfinished.Controller(),
			account.Default(),
			account.RootCA(),
			disruption.Controller(),
			resourceclaim.Controller(),
			devicetaint.Controller(),
		}},
		{Name: "objects", Controllers: []frame.Definition{
			namespace.Controller(),
			garbage.Controller(),
			resourcequota.Controller(),
			storagemigration.Controller(),
		}},
		{Name: "credentials", Controllers: []frame.Definition{
			accounttoken.Tokens(),
			accounttoken.Unused(),
			clusterrole.Controller(),
			certificate.Approver(),
			certificate.Signer(),
			certificate.Cleaner(),
			certificate.PodCleaner(),
			trustbundle.Controller(),
			bootstrap.Signer(),
			bootstrap.Cleaner(),
		}},
		{Name: "storage", Controllers: []frame.Definition{
			binder.Controller(),
			protection.Claims(),
			protection.Volumes(),
			protection.Attributes(),
			expand.Controller(),
			ephemeral.Controller(),
			attachdetach.Controller(),
		}},
		{Name: "nodes", Controllers: []frame.Definition{
			node.Lifecycle(),
			node.Addresses(),
			node.Eviction(),
		}},
		{Name: "autoscaling", Controllers: []frame.Definition{
			podautoscaler.Controller(),
		}},
	}
}
