package flow

import (
	"k8s.io/client-go/informers"
	"k8s.io/client-go/informers/flowcontrol"
	informers1 "k8s.io/client-go/informers/flowcontrol/v1"
	listers1 "k8s.io/client-go/listers/flowcontrol/v1"
	"k8s.io/client-go/tools/cache"
)

// factory shows objects as the informers that the library asks its factory for. It
// asks for no others: the rest of these interfaces is nil.
type factory struct {
	informers.SharedInformerFactory
	objects *objects
}

func (f factory) Flowcontrol() flowcontrol.Interface { return group{objects: f.objects} }

type group struct {
	flowcontrol.Interface
	objects *objects
}

func (g group) V1() informers1.Interface { return version{objects: g.objects} }

type version struct {
	informers1.Interface
	objects *objects
}

func (v version) FlowSchemas() informers1.TypedFlowSchemaInformer {
	return schemaInformer{f: v.objects.schemas}
}

func (v version) PriorityLevelConfigurations() informers1.TypedPriorityLevelConfigurationInformer {
	return levelInformer{f: v.objects.levels}
}

type schemaInformer struct {
	informers1.TypedFlowSchemaInformer
	f *follower
}

func (i schemaInformer) Informer() cache.SharedIndexInformer { return i.f }

func (i schemaInformer) Lister() listers1.FlowSchemaLister {
	return listers1.NewFlowSchemaLister(i.f.store)
}

type levelInformer struct {
	informers1.TypedPriorityLevelConfigurationInformer
	f *follower
}

func (i levelInformer) Informer() cache.SharedIndexInformer { return i.f }

func (i levelInformer) Lister() listers1.PriorityLevelConfigurationLister {
	return listers1.NewPriorityLevelConfigurationLister(i.f.store)
}
