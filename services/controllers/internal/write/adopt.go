package write

import (
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MayAdopt asks the API itself, as upstream does before an adoption, whether an
// owner still is the object that the controller knows and is not being deleted:
// what the controller knows may be old. path is the owner's.
func (c *Client) MayAdopt(ctx context.Context, kind, path string, owner metav1.Object) error {
	body, err := c.Read(ctx, path)
	if err != nil {
		return fmt.Errorf("reading %s before adopting: %w", kind, err)
	}
	var fresh metav1.PartialObjectMetadata
	if err := json.Unmarshal(body, &fresh); err != nil {
		return fmt.Errorf("reading %s before adopting: %w", kind, err)
	}
	if fresh.UID != owner.GetUID() {
		return fmt.Errorf("original %s %s/%s is gone: got uid %s, wanted %s", kind, owner.GetNamespace(), owner.GetName(), fresh.UID, owner.GetUID())
	}
	if fresh.DeletionTimestamp != nil {
		return fmt.Errorf("%s/%s has just been deleted at %v", owner.GetNamespace(), owner.GetName(), fresh.DeletionTimestamp)
	}
	return nil
}
