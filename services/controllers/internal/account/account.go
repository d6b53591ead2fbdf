// Package account gives every namespace what its pods need to speak to the API: the
// ServiceAccount "default" and the ConfigMap "kube-root-ca.crt".
//
// Both are there again at once when somebody deletes or changes them; namespaces
// that are being deleted get neither.
package account

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

const (
	rootCA            = "kube-root-ca.crt"
	rootCAKey         = "ca.crt"
	rootCADescription = "kubernetes.io/description"
	rootCAText        = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."
)

// Default keeps the ServiceAccount "default" in every namespace.
func Default() frame.Definition {
	return frame.Definition{Name: "serviceaccount", User: "service-account-controller", Workers: 1, Make: func(e *frame.Env) (frame.Loop, error) {
		return newKeeper(e, proto.GroupResource{Resource: "serviceaccounts"}, "default", buildDefault), nil
	}}
}

// RootCA keeps the ConfigMap "kube-root-ca.crt" in every namespace, where the CA is known.
func RootCA() frame.Definition {
	return frame.Definition{Name: "root-ca-certificate-publisher", User: "root-ca-cert-publisher", Workers: 1, Make: func(e *frame.Env) (frame.Loop, error) {
		if e.Config.RootCA == "" {
			return nil, nil
		}
		return newKeeper(e, proto.GroupResource{Resource: "configmaps"}, rootCA, func(namespace string, present *statelog.Entry) (any, error) {
			return buildRootCA(namespace, present, e.Config.RootCA)
		}), nil
	}}
}

// keeper keeps one object in every namespace. It reads the view: a mirror of all
// ConfigMaps for the sake of one name would be dear.
type keeper struct {
	world  *mirror.World
	view   *statelog.View
	gr     proto.GroupResource
	name   string
	build  func(namespace string, present *statelog.Entry) (any, error) // nil: right as it is
	writer *write.Client
	queue  *frame.Queue[string]
}

func newKeeper(e *frame.Env, gr proto.GroupResource, name string, build func(string, *statelog.Entry) (any, error)) *keeper {
	k := &keeper{world: e.World, view: e.View(gr), gr: gr, name: name, build: build, writer: e.Writer}
	k.queue = frame.Keyed(e, k.reconcile, frame.On(e.World.Namespaces, func(old, new *corev1.Namespace, add func(string)) {
		if new != nil && (old == nil || old.UID != new.UID) {
			add(new.Name)
		}
	}))
	e.Go(k.watch)
	return k
}

// Run implements frame.Loop.
func (k *keeper) Run(ctx context.Context, workers int) error { return k.queue.Run(ctx, workers) }

// watch wakes the namespaces whose object changes.
func (k *keeper) watch(ctx context.Context) error {
	err := statelog.Changes(ctx, k.view, k.gr, func(statelog.Snapshot) {
		for _, ns := range k.world.Namespaces.List("") {
			k.queue.Add(ns.Name)
		}
	}, func(events []statelog.Event) {
		for _, event := range events {
			if key := event.Entry.Key(); key.Name == k.name {
				k.queue.Add(key.Namespace)
			}
		}
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("watching %s: %w", k.gr, err)
}

func (k *keeper) reconcile(ctx context.Context, namespace string) (time.Duration, error) {
	ns := k.world.Namespaces.Get("", namespace)
	if ns == nil || ns.DeletionTimestamp != nil || ns.Status.Phase == corev1.NamespaceTerminating {
		return 0, nil
	}
	present := k.view.Snapshot(k.gr).Get(namespace, k.name)
	object, err := k.build(namespace, present)
	if err != nil || object == nil {
		return 0, err
	}
	build, path := write.Create, write.Path("", "v1", namespace, k.gr.Resource)
	if present != nil {
		build, path = write.Update, write.Path("", "v1", namespace, k.gr.Resource, k.name)
	}
	request, err := build(path, object)
	if err != nil {
		return 0, err
	}
	body, err := k.writer.One(ctx, request)
	switch {
	case apierrors.IsAlreadyExists(err), apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), apierrors.IsNotFound(err):
		return 0, nil // its own change wakes us
	case err != nil:
		return 0, fmt.Errorf("writing %s/%s: %w", namespace, k.name, err)
	}
	return 0, k.view.WaitFor(ctx, write.Revision(body))
}

func buildDefault(namespace string, present *statelog.Entry) (any, error) {
	if present != nil {
		return nil, nil
	}
	return &corev1.ServiceAccount{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default"},
	}, nil
}

func buildRootCA(namespace string, present *statelog.Entry, bundle string) (any, error) {
	if present == nil {
		return &corev1.ConfigMap{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: rootCA, Annotations: map[string]string{rootCADescription: rootCAText}},
			Data:       map[string]string{rootCAKey: bundle},
		}, nil
	}
	object, err := statelog.Decode[corev1.ConfigMap](present)
	if err != nil {
		return nil, err
	}
	right := len(object.Data) == 1 && object.Data[rootCAKey] == bundle && len(object.BinaryData) == 0
	if right && object.Annotations[rootCADescription] != "" {
		return nil, nil
	}
	object.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}
	object.Data, object.BinaryData = map[string]string{rootCAKey: bundle}, nil
	if object.Annotations == nil {
		object.Annotations = map[string]string{}
	}
	object.Annotations[rootCADescription] = rootCAText
	return object, nil
}
