package resource

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	api "k8s.io/kubernetes/pkg/apis/storage"
	"k8s.io/kubernetes/pkg/registry/storage/csidriver"
	"k8s.io/kubernetes/pkg/registry/storage/csinode"
	"k8s.io/kubernetes/pkg/registry/storage/csistoragecapacity"
	"k8s.io/kubernetes/pkg/registry/storage/storageclass"
	"k8s.io/kubernetes/pkg/registry/storage/volumeattachment"
	"k8s.io/kubernetes/pkg/registry/storage/volumeattributesclass"
)

var storageV1 = schema.GroupVersion{Group: "storage.k8s.io", Version: "v1"}

func storage() []*Kind {
	return []*Kind{
		{
			GVR: storageV1.WithResource("csidrivers"), GVK: storageV1.WithKind("CSIDriver"), Singular: "csidriver",
			Served:  []schema.GroupVersion{storageV1},
			New:     func() runtime.Object { return &api.CSIDriver{} },
			NewList: func() runtime.Object { return &api.CSIDriverList{} },
			Create:  csidriver.Strategy, Update: csidriver.Strategy, Delete: csidriver.Strategy,
			ReturnDeleted: true,
		},
		{
			GVR: storageV1.WithResource("csinodes"), GVK: storageV1.WithKind("CSINode"), Singular: "csinode",
			Served:  []schema.GroupVersion{storageV1},
			New:     func() runtime.Object { return &api.CSINode{} },
			NewList: func() runtime.Object { return &api.CSINodeList{} },
			Create:  csinode.Strategy, Update: csinode.Strategy, Delete: csinode.Strategy,
			ReturnDeleted: true,
			Subresources: []Subresource{
				{Name: "status", Kind: storageV1.WithKind("CSINode"), Verbs: updatable, Update: csinode.StatusStrategy},
			},
		},
		{
			GVR: storageV1.WithResource("csistoragecapacities"), GVK: storageV1.WithKind("CSIStorageCapacity"), Singular: "csistoragecapacity",
			Namespaced: true, Served: []schema.GroupVersion{storageV1},
			New:     func() runtime.Object { return &api.CSIStorageCapacity{} },
			NewList: func() runtime.Object { return &api.CSIStorageCapacityList{} },
			Create:  csistoragecapacity.Strategy, Update: csistoragecapacity.Strategy, Delete: csistoragecapacity.Strategy,
		},
		{
			GVR: storageV1.WithResource("storageclasses"), GVK: storageV1.WithKind("StorageClass"), Singular: "storageclass",
			ShortNames: []string{"sc"}, Served: []schema.GroupVersion{storageV1},
			New:     func() runtime.Object { return &api.StorageClass{} },
			NewList: func() runtime.Object { return &api.StorageClassList{} },
			Create:  storageclass.Strategy, Update: storageclass.Strategy, Delete: storageclass.Strategy,
			ReturnDeleted: true,
		},
		{
			GVR: storageV1.WithResource("volumeattachments"), GVK: storageV1.WithKind("VolumeAttachment"), Singular: "volumeattachment",
			Served:  []schema.GroupVersion{storageV1},
			New:     func() runtime.Object { return &api.VolumeAttachment{} },
			NewList: func() runtime.Object { return &api.VolumeAttachmentList{} },
			Create:  volumeattachment.Strategy, Update: volumeattachment.Strategy, Delete: volumeattachment.Strategy,
			ReturnDeleted: true,
			Subresources: []Subresource{
				{Name: "status", Kind: storageV1.WithKind("VolumeAttachment"), Verbs: updatable, Update: volumeattachment.StatusStrategy},
			},
		},
		{
			GVR: storageV1.WithResource("volumeattributesclasses"), GVK: storageV1.WithKind("VolumeAttributesClass"), Singular: "volumeattributesclass",
			ShortNames: []string{"vac"}, Served: []schema.GroupVersion{storageV1},
			New:     func() runtime.Object { return &api.VolumeAttributesClass{} },
			NewList: func() runtime.Object { return &api.VolumeAttributesClassList{} },
			Create:  volumeattributesclass.Strategy, Update: volumeattributesclass.Strategy, Delete: volumeattributesclass.Strategy,
			ReturnDeleted: true,
		},
	}
}
