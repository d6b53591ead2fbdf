package source

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/kit/file"
)

// Classes tells which runtime handler a pod's RuntimeClass means. The answer is kept with the pod: it may start again
// without the cluster, and with the handler that it had.
type Classes struct {
	api   *apiclient.Client
	store *Store
}

// NewClasses asks as the node.
func NewClasses(api *apiclient.Client, store *Store) *Classes { return &Classes{api, store} }

// handlerFile is in a pod's folder.
const handlerFile = "runtime-handler"

// Handler is "" for a pod without a class. The error is apierrors.IsNotFound where the class is not there.
func (c *Classes) Handler(ctx context.Context, pod *corev1.Pod) (string, error) {
	name := pod.Spec.RuntimeClassName
	if name == nil || *name == "" {
		return "", nil
	}
	kept := filepath.Join(c.store.PodDir(pod.UID), handlerFile)
	if data, err := os.ReadFile(kept); err == nil {
		return string(data), nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("reading the pod's runtime handler: %w", err)
	}
	class, err := apiclient.Get[nodev1.RuntimeClass](ctx, c.api, "/apis/node.k8s.io/v1/runtimeclasses/"+url.PathEscape(*name))
	switch {
	case apierrors.IsNotFound(err):
		return "", err
	case err != nil:
		return "", fmt.Errorf("failed to lookup RuntimeClass %s: %w", *name, err)
	}
	if err := os.MkdirAll(filepath.Dir(kept), 0o700); err != nil {
		return "", fmt.Errorf("keeping the pod's runtime handler: %w", err)
	}
	if err := file.Replace(kept, []byte(class.Handler), 0o600); err != nil {
		return "", fmt.Errorf("keeping the pod's runtime handler: %w", err)
	}
	return class.Handler, nil
}
