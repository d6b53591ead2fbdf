package resource

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	api "k8s.io/kubernetes/pkg/apis/batch"
	"k8s.io/kubernetes/pkg/registry/batch/cronjob"
	"k8s.io/kubernetes/pkg/registry/batch/job"
)

var batchV1 = schema.GroupVersion{Group: "batch", Version: "v1"}

func batch() []*Kind {
	return []*Kind{
		{
			GVR: batchV1.WithResource("cronjobs"), GVK: batchV1.WithKind("CronJob"), Singular: "cronjob",
			ShortNames: []string{"cj"}, Categories: all, Namespaced: true, Served: []schema.GroupVersion{batchV1},
			New:     func() runtime.Object { return &api.CronJob{} },
			NewList: func() runtime.Object { return &api.CronJobList{} },
			Create:  cronjob.Strategy, Update: cronjob.Strategy, Delete: cronjob.Strategy,
			Subresources: []Subresource{
				{Name: "status", Kind: batchV1.WithKind("CronJob"), Verbs: updatable, Update: cronjob.StatusStrategy},
			},
		},
		{
			GVR: batchV1.WithResource("jobs"), GVK: batchV1.WithKind("Job"), Singular: "job",
			Categories: all, Namespaced: true, Served: []schema.GroupVersion{batchV1},
			New:     func() runtime.Object { return &api.Job{} },
			NewList: func() runtime.Object { return &api.JobList{} },
			Create:  job.Strategy, Update: job.Strategy, Delete: job.Strategy,
			Attrs: job.GetAttrs, Unsettled: true,
			Subresources: []Subresource{
				{Name: "status", Kind: batchV1.WithKind("Job"), Verbs: updatable, Update: job.StatusStrategy},
			},
		},
	}
}
