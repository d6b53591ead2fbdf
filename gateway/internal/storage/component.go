package storage

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/apis/core"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto"
)

// components is componentstatuses: nothing is kept, each is asked when somebody
// reads it. A gateway can speak for the store alone; the services have health
// addresses of their own.
type components struct{ log Log }

// storeComponent is the one that is listed.
const storeComponent = "store"

func (c components) New() runtime.Object     { return &core.ComponentStatus{} }
func (c components) NewList() runtime.Object { return &core.ComponentStatusList{} }
func (c components) Destroy()                {}
func (c components) NamespaceScoped() bool   { return false }
func (c components) GetSingularName() string { return "componentstatus" }

func (c components) ConvertToTable(ctx context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return resource.Tables{}.ConvertToTable(ctx, obj, options)
}

// Get asks one component.
func (c components) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	if name != storeComponent {
		// The singular is upstream's.
		return nil, apierrors.NewNotFound(core.Resource("componentstatus"), name)
	}
	return c.store(ctx), nil
}

// List asks all components that the selectors let through.
func (c components) List(ctx context.Context, options *metainternal.ListOptions) (runtime.Object, error) {
	label, byField := labels.Everything(), fields.Everything()
	if options != nil && options.LabelSelector != nil {
		label = options.LabelSelector
	}
	if options != nil && options.FieldSelector != nil {
		byField = options.FieldSelector
	}
	out := &core.ComponentStatusList{Items: []core.ComponentStatus{}}
	if label.Matches(labels.Set{}) && byField.Matches(fields.Set{"metadata.name": storeComponent, "metadata.namespace": ""}) {
		out.Items = append(out.Items, *c.store(ctx))
	}
	return out, nil
}

// store is healthy when it answers the question a linearizable read asks.
func (c components) store(ctx context.Context) *core.ComponentStatus {
	condition := core.ComponentCondition{Type: core.ComponentHealthy, Status: core.ConditionTrue, Message: "ok"}
	if _, err := c.log.Barrier(ctx, proto.GroupResource{Resource: "namespaces"}); err != nil {
		condition.Status, condition.Message, condition.Error = core.ConditionFalse, "", err.Error()
	}
	return &core.ComponentStatus{ObjectMeta: metav1.ObjectMeta{Name: storeComponent}, Conditions: []core.ComponentCondition{condition}}
}

var (
	_ rest.Getter = components{}
	_ rest.Lister = components{}
)
