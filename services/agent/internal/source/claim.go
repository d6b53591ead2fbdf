package source

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/proto/apiclient"
)

// Claims asks the API for claims and persistent volumes. A node may read those of its
// own pods, and only by name; a pod asks once and keeps the answer (package volume).
type Claims struct{ api *apiclient.Client }

// NewClaims asks as the node.
func NewClaims(api *apiclient.Client) *Claims { return &Claims{api} }

// Claim gives a claim as it is now.
func (c *Claims) Claim(ctx context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, error) {
	return apiclient.Get[corev1.PersistentVolumeClaim](ctx, c.api, "/api/v1/namespaces/"+namespace+"/persistentvolumeclaims/"+name)
}

// Volume gives a persistent volume as it is now.
func (c *Claims) Volume(ctx context.Context, name string) (*corev1.PersistentVolume, error) {
	return apiclient.Get[corev1.PersistentVolume](ctx, c.api, "/api/v1/persistentvolumes/"+name)
}
