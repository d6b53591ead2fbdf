package measure

import "context"

// schedule measures how fast the 2,000 pods of one Deployment are created and bound.
func schedule(ctx context.Context, e *Env) (Result, error) {
	return e.place(ctx, "schedule", e.amount(2000), deployment)
}

// job is the same for the 2,000 pods of one Job, all at once.
func job(ctx context.Context, e *Env) (Result, error) {
	return e.place(ctx, "job", e.amount(2000), workload{"batch/v1", "Job", "jobs", func(pods int) fields {
		spec := podSpec("")
		spec["restartPolicy"] = "Never"
		return fields{"parallelism": pods, "completions": pods, "template": fields{"spec": spec}}
	}})
}

// daemonset is the same for a DaemonSet, with a pod for each node.
func daemonset(ctx context.Context, e *Env) (Result, error) {
	return e.place(ctx, "daemonset", e.Nodes, workload{"apps/v1", "DaemonSet", "daemonsets", func(int) fields {
		return fields{"selector": selector, "template": template()}
	}})
}

// statefulset is the same for a StatefulSet of 500 pods that are made at once.
func statefulset(ctx context.Context, e *Env) (Result, error) {
	return e.place(ctx, "statefulset", e.amount(500), workload{"apps/v1", "StatefulSet", "statefulsets", func(pods int) fields {
		return fields{"replicas": pods, "serviceName": "load", "podManagementPolicy": "Parallel", "selector": selector, "template": template()}
	}})
}

// workload is an object whose controller makes pods.
type workload struct {
	version, kind, resource string
	spec                    func(pods int) fields
}

var (
	selector   = fields{"matchLabels": fields{"app": "load"}}
	deployment = workload{"apps/v1", "Deployment", "deployments", func(pods int) fields {
		return fields{"replicas": pods, "selector": selector, "template": template()}
	}}
)

func template() fields {
	return fields{"metadata": fields{"labels": fields{"app": "load"}}, "spec": podSpec("")}
}
