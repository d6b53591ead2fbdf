package podautoscaler

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/services/controllers/internal/write"
)

// remembered is how long an answer of discovery stands, as upstream's: custom kinds come
// and go.
const remembered = 30 * time.Second

// kinds finds the collections of kinds by discovery. Safe for concurrent use.
type kinds struct {
	api API

	mu    sync.Mutex
	known map[schema.GroupKind]found
}

type found struct {
	collection schema.GroupVersionResource
	until      time.Time
}

func newKinds(api API) *kinds { return &kinds{api: api, known: map[schema.GroupKind]found{}} }

// find gives the collection of a kind, in the group's preferred version that has it; a
// *meta.NoKindMatchError when there is none.
func (k *kinds) find(ctx context.Context, gk schema.GroupKind) (schema.GroupVersionResource, error) {
	now := time.Now()
	k.mu.Lock()
	known, ok := k.known[gk]
	k.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.collection, nil
	}
	gvr, err := k.discover(ctx, gk)
	if err != nil {
		return gvr, err
	}
	k.mu.Lock()
	k.known[gk] = found{gvr, now.Add(remembered)}
	k.mu.Unlock()
	return gvr, nil
}

func (k *kinds) discover(ctx context.Context, gk schema.GroupKind) (schema.GroupVersionResource, error) {
	versions, err := k.versions(ctx, gk.Group)
	if err != nil {
		return schema.GroupVersionResource{}, err
	}
	for _, version := range versions {
		var list metav1.APIResourceList
		if err := k.get(ctx, root(gk.Group)+"/"+version, &list); err != nil {
			if apierrors.IsNotFound(err) {
				continue // it has just gone
			}
			return schema.GroupVersionResource{}, err
		}
		for i := range list.APIResources {
			if r := &list.APIResources[i]; r.Kind == gk.Kind && r.Group == "" {
				return schema.GroupVersionResource{Group: gk.Group, Version: version, Resource: r.Name}, nil
			}
		}
	}
	return schema.GroupVersionResource{}, &meta.NoKindMatchError{GroupKind: gk}
}

// versions lists those of a group, the preferred one first; none of a group that is not
// served.
func (k *kinds) versions(ctx context.Context, group string) ([]string, error) {
	if group == "" {
		return []string{"v1"}, nil
	}
	var served metav1.APIGroup
	if err := k.get(ctx, root(group), &served); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, err
	}
	versions := []string{served.PreferredVersion.Version}
	for _, v := range served.Versions {
		if v.Version != served.PreferredVersion.Version {
			versions = append(versions, v.Version)
		}
	}
	return versions, nil
}

func (k *kinds) get(ctx context.Context, path string, into any) error {
	return get(ctx, k.api, path, into)
}

func root(group string) string {
	if group == "" {
		return "/api"
	}
	return "/apis/" + group
}

// get reads and decodes JSON.
func get(ctx context.Context, api API, path string, into any) error {
	body, err := api.Read(ctx, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("decoding %s: %w", path, err)
	}
	return nil
}

// path is that of an object of a collection, or of a subresource.
func path(of schema.GroupVersionResource, namespace string, name ...string) string {
	return write.Path(of.Group, of.Version, namespace, of.Resource, name...)
}
