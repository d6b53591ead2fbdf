package disruption

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

// errNoAnswer is an error of the moment; all others stay until something changes.
var errNoAnswer = errors.New("asking the API")

// scaleOf finds how many pods an owner of pods wants; nil: it is not there. A
// ReplicaSet of a Deployment is the Deployment's, whose number stands for all of its sets.
func (c *controller) scaleOf(ctx context.Context, owner *metav1.OwnerReference, namespace string) (*scale, error) {
	gv, err := schema.ParseGroupVersion(owner.APIVersion)
	if err != nil {
		return nil, err
	}
	switch (schema.GroupKind{Group: gv.Group, Kind: owner.Kind}) {
	case schema.GroupKind{Kind: "ReplicationController"}:
		return wanted(c.world.ReplicationControllers, namespace, owner), nil
	case schema.GroupKind{Group: "apps", Kind: "StatefulSet"}:
		return wanted(c.world.StatefulSets, namespace, owner), nil
	case schema.GroupKind{Group: "apps", Kind: "ReplicaSet"}:
		own := wanted(c.world.ReplicaSets, namespace, owner)
		if own == nil {
			return nil, nil
		}
		above := metav1.GetControllerOfNoCopy(c.world.ReplicaSets.Get(namespace, owner.Name))
		if above != nil && above.Kind == "Deployment" {
			if deployment := wanted(c.world.Deployments, namespace, above); deployment != nil {
				return deployment, nil
			}
		}
		return own, nil
	}
	return c.scaleByAPI(ctx, gv, owner, namespace)
}

// wanted reads the number from a mirror.
func wanted[T any](kind *mirror.Kind[T], namespace string, owner *metav1.OwnerReference) *scale {
	object := kind.Get(namespace, owner.Name)
	if object == nil || any(object).(metav1.Object).GetUID() != owner.UID {
		return nil
	}
	return &scale{owner.UID, replicas(object)}
}

func replicas(object any) int32 {
	var n *int32
	switch o := object.(type) {
	case *corev1.ReplicationController:
		n = o.Spec.Replicas
	case *appsv1.ReplicaSet:
		n = o.Spec.Replicas
	case *appsv1.Deployment:
		n = o.Spec.Replicas
	case *appsv1.StatefulSet:
		n = o.Spec.Replicas
	}
	if n == nil {
		return 1 // the API's default
	}
	return *n
}

// scaleByAPI asks the scale subresource of any other kind.
func (c *controller) scaleByAPI(ctx context.Context, gv schema.GroupVersion, owner *metav1.OwnerReference, namespace string) (*scale, error) {
	resource, scales, err := c.discover(ctx, gv, owner.Kind)
	if err != nil {
		return nil, err
	}
	if !scales {
		return nil, fmt.Errorf("%s does not implement the scale subresource", schema.GroupResource{Group: gv.Group, Resource: resource})
	}
	body, err := c.writer.Read(ctx, write.Path(gv.Group, gv.Version, namespace, resource, owner.Name, "scale"))
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	var s autoscalingv1.Scale
	if err := json.Unmarshal(body, &s); err != nil {
		return nil, fmt.Errorf("reading the scale of %s %s: %w", owner.Kind, owner.Name, err)
	}
	if s.UID != owner.UID {
		return nil, nil
	}
	return &scale{s.UID, s.Spec.Replicas}, nil
}

// discover finds the collection of a kind and whether its objects have a scale.
func (c *controller) discover(ctx context.Context, gv schema.GroupVersion, kind string) (resource string, scales bool, err error) {
	path := "/apis/" + gv.String()
	if gv.Group == "" {
		path = "/api/" + gv.Version
	}
	unknown := &apimeta.NoKindMatchError{GroupKind: schema.GroupKind{Group: gv.Group, Kind: kind}, SearchedVersions: []string{gv.Version}}
	body, err := c.writer.Read(ctx, path)
	if apierrors.IsNotFound(err) {
		return "", false, unknown
	}
	if err != nil {
		return "", false, fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	var list metav1.APIResourceList
	if err := json.Unmarshal(body, &list); err != nil {
		return "", false, fmt.Errorf("discovering %s: %w", gv, err)
	}
	return pick(list.APIResources, kind, unknown)
}

// pick finds a kind among what a group version serves.
func pick(served []metav1.APIResource, kind string, unknown error) (resource string, scales bool, err error) {
	for i := range served {
		if r := &served[i]; r.Kind == kind && !subresource(r.Name) {
			resource = r.Name
			break
		}
	}
	if resource == "" {
		return "", false, unknown
	}
	for i := range served {
		if served[i].Name == resource+"/scale" && served[i].Kind == "Scale" {
			return resource, true, nil
		}
	}
	return resource, false, nil
}

func subresource(name string) bool { return strings.Contains(name, "/") }

// about is the object of an event.
func about(object metav1.Object, apiVersion, kind string) event.Object {
	return event.Object{GroupVersionKind: schema.FromAPIVersionAndKind(apiVersion, kind), Meta: object}
}
