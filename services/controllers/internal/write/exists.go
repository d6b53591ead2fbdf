package write

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Exists asks the API itself whether an object of that UID, or of any with "", is
// there: what is not seen in a mirror may be too new.
func (c *Client) Exists(ctx context.Context, path string, uid types.UID) (bool, error) {
	body, err := c.Read(ctx, path)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("asking for %s: %w", path, err)
	}
	var there metav1.PartialObjectMetadata
	if err := json.Unmarshal(body, &there); err != nil {
		return false, fmt.Errorf("asking for %s: %w", path, err)
	}
	return uid == "" || there.UID == uid, nil
}
