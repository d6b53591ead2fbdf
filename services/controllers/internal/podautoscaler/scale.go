package podautoscaler

import (
	"context"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/write"
)

// API reads and writes as the autoscaler's user.
type API interface {
	Read(ctx context.Context, path string) ([]byte, error)
	One(ctx context.Context, request apiclient.Request) ([]byte, error)
}

// scales reads and writes scale subresources of any kind.
type scales struct {
	api   API
	kinds *kinds
}

// of gives the scale of a target, and its path.
func (s scales) of(ctx context.Context, namespace string, ref autoscalingv2.CrossVersionObjectReference) (scale *autoscalingv1.Scale, at string, why, told error) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, "", err, fmt.Errorf("invalid API version in scale target reference: %w", err)
	}
	collection, err := s.kinds.find(ctx, gv.WithKind(ref.Kind).GroupKind())
	if err != nil {
		return nil, "", err, fmt.Errorf("unable to determine resource for scale target reference: %w", err)
	}
	at = path(collection, namespace, ref.Name, "scale")
	if scale, err = s.get(ctx, at); err != nil {
		return nil, "", err, fmt.Errorf("failed to query scale subresource for %s/%s/%s: %w", ref.Kind, namespace, ref.Name, err)
	}
	return scale, at, nil, nil
}

func (s scales) get(ctx context.Context, at string) (*autoscalingv1.Scale, error) {
	scale := &autoscalingv1.Scale{}
	return scale, get(ctx, s.api, at, scale)
}

// attempts are how often a size is written when others write the target meanwhile.
const attempts = 5

// set writes the size, over what others write meanwhile.
func (s scales) set(ctx context.Context, at string, scale *autoscalingv1.Scale, replicas int32) error {
	for n := 1; ; n++ {
		scale.Spec.Replicas = replicas
		request, err := write.Update(at, scale)
		if err != nil {
			return err
		}
		_, err = s.api.One(ctx, request)
		if err == nil || !apierrors.IsConflict(err) || n == attempts {
			return err
		}
		if fresh, reading := s.get(ctx, at); reading == nil {
			scale = fresh
		}
	}
}
