package aggregate

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	internal "k8s.io/kube-aggregator/pkg/apis/apiregistration"
	api "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/gateway/internal/storage"
	"kubus.dev/proto/statelog"
)

// managed is upstream's label of APIServices that are kept in step with the custom
// resources that are served.
const managed = "kube-aggregator.kubernetes.io/automanaged"

// registerRetry is how long after a write that failed it is tried again.
const registerRetry = time.Second

// register keeps an APIService for each group version of custom resources and of
// delegates, until ctx ends. Those of built-in groups are made when the cluster is.
func (a *Aggregator) register(ctx context.Context) error {
	if err := a.o.View(apiServices).Ready(ctx); err != nil {
		return nil // ctx ended
	}
	for {
		table, changed := a.o.Registry.Changed()
		var again <-chan time.Time
		if err := a.reconcile(ctx, table); err != nil && ctx.Err() == nil {
			a.o.Logger.Warn("APIServices of custom resources cannot be written", zap.Error(err))
			again = time.After(registerRetry)
		}
		select {
		case <-changed:
		case <-a.missing:
		case <-again:
		case <-ctx.Done():
			return nil
		}
	}
}

// reconcile creates what is missing and deletes what nothing is served of.
func (a *Aggregator) reconcile(ctx context.Context, table *resource.Table) error {
	present := map[string]bool{}
	a.o.View(apiServices).Snapshot(apiServices).Ascend("", func(e *statelog.Entry) bool {
		present[e.Key().Name] = e.Meta().Labels[managed] == "true"
		return true
	})
	create, remove := registrations(customVersions(table), present)
	for gv, d := range a.o.Delegates {
		if _, ok := present[registrationName(gv)]; !ok {
			if err := a.create(ctx, Registration(gv, d.Priority)); err != nil {
				return err
			}
		}
	}
	for _, gv := range create {
		s := Registration(gv, resource.CustomPriority)
		s.Labels = map[string]string{managed: "true"}
		if err := a.create(ctx, s); err != nil {
			return err
		}
	}
	for _, name := range remove {
		if _, _, err := a.store().Delete(a.as(ctx, "delete", name), name, rest.ValidateAllObjectFunc, &metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// create makes an APIService, unless somebody was quicker.
func (a *Aggregator) create(ctx context.Context, s *api.APIService) error {
	object := &internal.APIService{}
	if err := resource.Scheme.Convert(s, object, nil); err != nil {
		return err
	}
	_, err := a.store().Create(a.as(ctx, "create", s.Name), object, rest.ValidateAllObjectFunc, &metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// customVersions lists the group versions of custom resources.
func customVersions(table *resource.Table) []schema.GroupVersion {
	var out []schema.GroupVersion
	for _, gv := range table.Versions() {
		if kinds := table.In(gv); len(kinds) > 0 && kinds[0].Custom {
			out = append(out, gv)
		}
	}
	return out
}

// registrations says what to create and remove, given the group versions that are
// served and the APIServices there are, by name, with whether they are ours to keep.
func registrations(served []schema.GroupVersion, present map[string]bool) (create []schema.GroupVersion, remove []string) {
	wanted := map[string]bool{}
	for _, gv := range served {
		name := registrationName(gv)
		wanted[name] = true
		if _, ok := present[name]; !ok {
			create = append(create, gv)
		}
	}
	for name, ours := range present {
		if ours && !wanted[name] {
			remove = append(remove, name)
		}
	}
	return create, remove
}

func registrationName(gv schema.GroupVersion) string { return gv.Version + "." + gv.Group }

// Registration is the APIService of a group version that the gateway serves itself.
func Registration(gv schema.GroupVersion, priority resource.Priority) *api.APIService {
	return &api.APIService{
		TypeMeta:   metav1.TypeMeta{Kind: "APIService", APIVersion: api.SchemeGroupVersion.String()},
		ObjectMeta: metav1.ObjectMeta{Name: registrationName(gv)},
		Spec:       api.APIServiceSpec{Group: gv.Group, Version: gv.Version, GroupPriorityMinimum: priority.Group, VersionPriority: priority.Version},
	}
}

// kind is the row of APIServices; the table always has it.
func (a *Aggregator) kind() *resource.Kind {
	return a.o.Registry.Find(api.SchemeGroupVersion.WithResource("apiservices"))
}

func (a *Aggregator) store() *storage.Store { return a.o.Storage.Store(a.kind()) }

// as is the context of a request that would do it.
func (a *Aggregator) as(ctx context.Context, verb, name string) context.Context {
	ctx = request.WithUser(ctx, a.o.User)
	ctx = request.WithNamespace(ctx, "")
	return request.WithRequestInfo(ctx, &request.RequestInfo{IsResourceRequest: true, Verb: verb, APIGroup: api.GroupName,
		APIVersion: api.SchemeGroupVersion.Version, Resource: "apiservices", Name: name})
}

// writeCondition sets an APIService's condition; it writes nothing when it is so.
func (a *Aggregator) writeCondition(ctx context.Context, name string, condition *api.APIServiceCondition) error {
	kind := a.kind()
	store := a.store().With(kind.Subresource("status").Update)
	want := internal.APIServiceCondition{
		Type: internal.APIServiceConditionType(condition.Type), Status: internal.ConditionStatus(condition.Status),
		Reason: condition.Reason, Message: condition.Message, LastTransitionTime: metav1.Now(),
	}
	info := rest.DefaultUpdatedObjectInfo(nil, func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
		return conditioned(old.(*internal.APIService), want), nil
	})
	_, _, err := store.Update(a.as(ctx, "update", name), name, info, rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
	return err
}

// conditioned gives an APIService with a condition: the very same where it tells so
// already, whoever owns what it says, as upstream leaves it then.
func conditioned(old *internal.APIService, want internal.APIServiceCondition) *internal.APIService {
	s := old.DeepCopy()
	internal.SetAPIServiceCondition(s, want)
	if apiequality.Semantic.DeepEqual(s.Status, old.Status) {
		return old
	}
	s.ManagedFields = managedBy(s.ManagedFields, want.LastTransitionTime)
	return s
}

// conditionFields are what the writer of an Available condition owns.
const conditionFields = `{"f:status":{"f:conditions":{".":{},"k:{\"type\":\"Available\"}":{".":{},"f:lastTransitionTime":{},"f:message":{},"f:reason":{},"f:status":{},"f:type":{}}}}}`

// managedBy gives managed fields in which the condition belongs to the server itself,
// under the name that upstream's writes it.
func managedBy(fields []metav1.ManagedFieldsEntry, now metav1.Time) []metav1.ManagedFieldsEntry {
	const manager, status = "kube-apiserver", "status"
	mine := metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: api.SchemeGroupVersion.String(), Time: &now,
		FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: []byte(conditionFields)}, Subresource: status}
	others := slices.DeleteFunc(slices.Clone(fields), func(e metav1.ManagedFieldsEntry) bool { return e.Manager == manager && e.Subresource == status })
	return append(others, mine)
}
