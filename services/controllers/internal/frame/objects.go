package frame

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

// Objects writes objects of one kind and returns when the mirror shows the write. An
// error that wraps *mirror.Behind says that the write is done and not to be seen yet:
// return it, and the key is looked at again when it is.
type Objects[T any] struct {
	kind   *mirror.Kind[T]
	writer *write.Client
}

// Of writes a kind as the controller.
func Of[T any](e *Env, kind *mirror.Kind[T]) Objects[T] {
	kind.Follow()
	return Objects[T]{kind, e.Writer}
}

// Change is one write of a kind.
type Change[T any] struct {
	method, subresource string
	object              *T
	namespace, name     string
	patch               any
	options             *metav1.DeleteOptions
}

// Creating makes an object.
func Creating[T any](object *T) Change[T] { return Change[T]{method: "POST", object: object} }

// Updating replaces an object, but for its status; its resourceVersion is the condition.
func Updating[T any](object *T) Change[T] { return Change[T]{method: "PUT", object: object} }

// UpdatingStatus replaces an object's status.
func UpdatingStatus[T any](object *T) Change[T] {
	return Change[T]{method: "PUT", object: object, subresource: "status"}
}

// Patching merges fields into an object, by JSON merge patch; subresource may be "".
func Patching[T any](object *T, patch any, subresource string) Change[T] {
	m := any(object).(metav1.Object)
	return Change[T]{method: "PATCH", namespace: m.GetNamespace(), name: m.GetName(), patch: patch, subresource: subresource}
}

// Deleting deletes an object; with nil options on the condition that it is still the
// same one.
func Deleting[T any](object *T, options *metav1.DeleteOptions) Change[T] {
	if options == nil {
		options = &metav1.DeleteOptions{Preconditions: write.OnlyUID(any(object).(metav1.Object).GetUID())}
	}
	return Change[T]{method: "DELETE", object: object, options: options}
}

// Create makes one object and returns it as it was stored.
func (o Objects[T]) Create(ctx context.Context, object *T) (*T, error) {
	return o.one(ctx, Creating(object))
}

// Update replaces one object.
func (o Objects[T]) Update(ctx context.Context, object *T) (*T, error) {
	return o.one(ctx, Updating(object))
}

// UpdateStatus replaces the status of one object.
func (o Objects[T]) UpdateStatus(ctx context.Context, object *T) (*T, error) {
	return o.one(ctx, UpdatingStatus(object))
}

// Patch merges fields into one object.
func (o Objects[T]) Patch(ctx context.Context, object *T, patch any, subresource string) (*T, error) {
	return o.one(ctx, Patching(object, patch, subresource))
}

// Delete deletes one object; that it is gone already is no error.
func (o Objects[T]) Delete(ctx context.Context, object *T, options *metav1.DeleteOptions) error {
	_, err := o.one(ctx, Deleting(object, options))
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (o Objects[T]) one(ctx context.Context, change Change[T]) (*T, error) {
	written, errs, err := o.send(ctx, []Change[T]{change})
	if err != nil {
		return nil, err
	}
	return written[0], errs[0]
}

// Do makes all changes in one request, each on its own merits, and waits for all. The
// errors are those of the changes in order; the last result is nil when each had an
// answer and the mirror shows it.
func (o Objects[T]) Do(ctx context.Context, changes ...Change[T]) ([]error, error) {
	_, errs, err := o.send(ctx, changes)
	return errs, err
}

func (o Objects[T]) send(ctx context.Context, changes []Change[T]) (written []*T, errs []error, err error) {
	if len(changes) == 0 {
		return nil, nil, nil
	}
	requests := make([]apiclient.Request, len(changes))
	for i, change := range changes {
		if requests[i], err = o.request(change); err != nil {
			return nil, nil, err
		}
	}
	results, err := o.writer.Do(ctx, requests...)
	if err != nil {
		return nil, nil, fmt.Errorf("writing %s: %w", o.kind.Resource(), err)
	}
	written, errs = make([]*T, len(changes)), make([]error, len(changes))
	var newest uint64
	for i, result := range results {
		if errs[i] = result.Err; result.Err != nil || changes[i].method == "DELETE" {
			continue
		}
		newest = max(newest, write.Revision(result.Body))
		written[i] = new(T)
		if err := json.Unmarshal(result.Body, written[i]); err != nil {
			errs[i] = fmt.Errorf("decoding what was written: %w", err)
		}
	}
	err = o.kind.WaitUntil(ctx, newest, func(get func(namespace, name string) *T) bool {
		for i, change := range changes {
			if change.method == "DELETE" && errs[i] == nil && !left(change.object, get) {
				return false
			}
		}
		return true
	})
	return written, errs, err
}

// left tells whether the mirror shows an object gone or on its way.
func left[T any](object *T, get func(namespace, name string) *T) bool {
	m := any(object).(metav1.Object)
	present := get(m.GetNamespace(), m.GetName())
	if present == nil {
		return true
	}
	now := any(present).(metav1.Object)
	return now.GetUID() != m.GetUID() || now.GetDeletionTimestamp() != nil
}

func (o Objects[T]) request(change Change[T]) (apiclient.Request, error) {
	if change.method == "PATCH" {
		return write.Merge(o.path(change.namespace, change.name, change.subresource), change.patch)
	}
	m := any(change.object).(metav1.Object)
	if change.method == "DELETE" {
		return write.Delete(o.kind.Path(m.GetNamespace(), m.GetName()), change.options)
	}
	if change.method == "PUT" && change.subresource == "" && !o.kind.Whole() {
		return apiclient.Request{}, fmt.Errorf("%s are not mirrored as a whole: patch them", o.kind.Resource())
	}
	any(change.object).(runtime.Object).GetObjectKind().SetGroupVersionKind(o.kind.GVK())
	if change.method == "POST" {
		return write.Create(o.kind.Path(m.GetNamespace()), change.object)
	}
	return write.Update(o.path(m.GetNamespace(), m.GetName(), change.subresource), change.object)
}

func (o Objects[T]) path(namespace, name, subresource string) string {
	if subresource == "" {
		return o.kind.Path(namespace, name)
	}
	return o.kind.Path(namespace, name, subresource)
}
