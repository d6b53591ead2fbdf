package controllers

import (
	"kubus.dev/services/controllers/internal/account"
	"kubus.dev/services/controllers/internal/daemonset"
	"kubus.dev/services/controllers/internal/deployment"
	"kubus.dev/services/controllers/internal/endpoint"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/garbage"
	"kubus.dev/services/controllers/internal/namespace"
	"kubus.dev/services/controllers/internal/node"
	"kubus.dev/services/controllers/internal/podgc"
	"kubus.dev/services/controllers/internal/replicaset"
	"kubus.dev/services/controllers/internal/statefulset"
)

// Groups are all controllers, by what is led as one.
func Groups() []frame.Group {
	return []frame.Group{
		{Name: "workloads", Controllers: []frame.Definition{
			deployment.Controller(),
			replicaset.Controller(),
			replicaset.ReplicationController(),
			statefulset.Controller(),
			daemonset.Controller(),
		}},
		{Name: "network", Controllers: []frame.Definition{
			endpoint.Slices(),
			endpoint.Legacy(),
			endpoint.Mirrored(),
		}},
		{Name: "lifecycle", Controllers: []frame.Definition{
			namespace.Controller(),
			garbage.Controller(),
			podgc.Controller(),
			account.Default(),
			account.RootCA(),
		}},
		{Name: "nodes", Controllers: []frame.Definition{
			node.Lifecycle(),
			node.Addresses(),
			node.Eviction(),
		}},
	}
}
