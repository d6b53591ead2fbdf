package resource

import (
	"context"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	coreapi "k8s.io/kubernetes/pkg/apis/core"
	rbacapi "k8s.io/kubernetes/pkg/apis/rbac"
	storageapi "k8s.io/kubernetes/pkg/apis/storage"
	"k8s.io/kubernetes/pkg/printers"
	printersinternal "k8s.io/kubernetes/pkg/printers/internalversion"
	printersstorage "k8s.io/kubernetes/pkg/printers/storage"
)

var generator = sync.OnceValue(func() printersstorage.TableConvertor {
	return printersstorage.TableConvertor{TableGenerator: printers.NewTableGenerator().With(printersinternal.AddHandlers)}
})

// Tables renders internal objects and lists as kubectl's columns, for every
// kind. It satisfies upstream's rest.TableConvertor.
type Tables struct{}

// ConvertToTable renders obj, an object or list of the internal version.
func (Tables) ConvertToTable(ctx context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	// These have no columns of their own upstream.
	switch obj.(type) {
	case *coreapi.LimitRange, *coreapi.LimitRangeList:
		return rest.NewDefaultTableConvertor(coreapi.Resource("limitranges")).ConvertToTable(ctx, obj, options)
	case *storageapi.CSIStorageCapacity, *storageapi.CSIStorageCapacityList:
		return rest.NewDefaultTableConvertor(storageapi.Resource("csistoragecapacities")).ConvertToTable(ctx, obj, options)
	case *rbacapi.ClusterRole, *rbacapi.ClusterRoleList:
		return rest.NewDefaultTableConvertor(rbacapi.Resource("clusterroles")).ConvertToTable(ctx, obj, options)
	case *rbacapi.Role, *rbacapi.RoleList:
		return rest.NewDefaultTableConvertor(rbacapi.Resource("roles")).ConvertToTable(ctx, obj, options)
	}
	return generator().ConvertToTable(ctx, obj, options)
}
