package resource

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	api "k8s.io/kubernetes/pkg/apis/autoscaling"
	"k8s.io/kubernetes/pkg/registry/autoscaling/horizontalpodautoscaler"
)

var (
	autoscalingV1 = schema.GroupVersion{Group: "autoscaling", Version: "v1"}
	autoscalingV2 = schema.GroupVersion{Group: "autoscaling", Version: "v2"}
)

func autoscaling() []*Kind {
	return []*Kind{
		{
			GVR: autoscalingV2.WithResource("horizontalpodautoscalers"), GVK: autoscalingV2.WithKind("HorizontalPodAutoscaler"), Singular: "horizontalpodautoscaler",
			ShortNames: []string{"hpa"}, Categories: all, Namespaced: true, Served: []schema.GroupVersion{autoscalingV2, autoscalingV1},
			New:     func() runtime.Object { return &api.HorizontalPodAutoscaler{} },
			NewList: func() runtime.Object { return &api.HorizontalPodAutoscalerList{} },
			Create:  horizontalpodautoscaler.Strategy, Update: horizontalpodautoscaler.Strategy, Delete: horizontalpodautoscaler.Strategy,
			Subresources: []Subresource{
				{Name: "status", Kind: autoscalingV2.WithKind("HorizontalPodAutoscaler"), Verbs: updatable, Update: horizontalpodautoscaler.StatusStrategy},
			},
		},
	}
}
