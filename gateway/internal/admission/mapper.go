package admission

import (
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/gateway/internal/resource"
)

// mapper is upstream's meta.RESTMapper over the kinds that are served right now.
type mapper struct {
	registry *resource.Registry

	mu     sync.Mutex
	table  *resource.Table // that mapper was made of
	mapper meta.RESTMapper
}

// NewMapper is what plugins are given, for whoever works beside them.
func NewMapper(registry *resource.Registry) meta.RESTMapper { return newMapper(registry) }

func newMapper(registry *resource.Registry) *mapper { return &mapper{registry: registry} }

func (m *mapper) now() meta.RESTMapper {
	table := m.registry.Load()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.table == table {
		return m.mapper
	}
	made := meta.NewDefaultRESTMapper(table.Versions())
	for _, k := range table.Kinds() {
		var scope meta.RESTScope = meta.RESTScopeRoot
		if k.Namespaced {
			scope = meta.RESTScopeNamespace
		}
		for _, gv := range k.Served {
			made.AddSpecific(k.ServedKind(gv), gv.WithResource(k.GVR.Resource), gv.WithResource(k.Singular), scope)
		}
	}
	m.table, m.mapper = table, made
	return made
}

// KindFor is upstream's.
func (m *mapper) KindFor(gvr schema.GroupVersionResource) (schema.GroupVersionKind, error) {
	return m.now().KindFor(gvr)
}

// KindsFor is upstream's.
func (m *mapper) KindsFor(gvr schema.GroupVersionResource) ([]schema.GroupVersionKind, error) {
	return m.now().KindsFor(gvr)
}

// ResourceFor is upstream's.
func (m *mapper) ResourceFor(gvr schema.GroupVersionResource) (schema.GroupVersionResource, error) {
	return m.now().ResourceFor(gvr)
}

// ResourcesFor is upstream's.
func (m *mapper) ResourcesFor(gvr schema.GroupVersionResource) ([]schema.GroupVersionResource, error) {
	return m.now().ResourcesFor(gvr)
}

// RESTMapping is upstream's.
func (m *mapper) RESTMapping(gk schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	return m.now().RESTMapping(gk, versions...)
}

// RESTMappings is upstream's.
func (m *mapper) RESTMappings(gk schema.GroupKind, versions ...string) ([]*meta.RESTMapping, error) {
	return m.now().RESTMappings(gk, versions...)
}

// ResourceSingularizer is upstream's.
func (m *mapper) ResourceSingularizer(name string) (string, error) {
	return m.now().ResourceSingularizer(name)
}
