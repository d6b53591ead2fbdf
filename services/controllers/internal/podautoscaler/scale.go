package podautoscaler

import (
	"context"
	"encoding/json"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/feed"
	"kubus.dev/services/controllers/internal/write"
)

// API reads and writes as the autoscaler's user.
type API interface {
	Read(ctx context.Context, path string) ([]byte, error)
	One(ctx context.Context, request apiclient.Request) ([]byte, error)
}

// scales reads and writes scale subresources of any kind.
type scales struct {
	api     API
	catalog func() *feed.Catalog
}

// path is that of a target's scale.
func (s scales) path(namespace string, ref autoscalingv2.CrossVersionObjectReference) (string, error) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return "", err
	}
	var r *feed.Resource
	if c := s.catalog(); c != nil {
		r = c.ByKind(ref.APIVersion, ref.Kind)
	}
	if r == nil {
		return "", &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: gv.Group, Kind: ref.Kind}}
	}
	return write.Path(r.Group, r.Version, namespace, r.Resource, ref.Name, "scale"), nil
}

func (s scales) get(ctx context.Context, path string) (*autoscalingv1.Scale, error) {
	body, err := s.api.Read(ctx, path)
	if err != nil {
		return nil, err
	}
	scale := &autoscalingv1.Scale{}
	if err := json.Unmarshal(body, scale); err != nil {
		return nil, fmt.Errorf("decoding %s: %w", path, err)
	}
	return scale, nil
}

// attempts are how often a size is written when others write the target meanwhile.
const attempts = 5

// set writes the size, over what others write meanwhile.
func (s scales) set(ctx context.Context, path string, scale *autoscalingv1.Scale, replicas int32) error {
	for n := 1; ; n++ {
		scale.Spec.Replicas = replicas
		request, err := write.Update(path, scale)
		if err != nil {
			return err
		}
		_, err = s.api.One(ctx, request)
		if err == nil || !apierrors.IsConflict(err) || n == attempts {
			return err
		}
		if fresh, reading := s.get(ctx, path); reading == nil {
			scale = fresh
		}
	}
}
