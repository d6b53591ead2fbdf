package gateway

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kubus.dev/proto/apiclient"
)

func TestConfigMapLifeCycle(t *testing.T) {
	g := start(t)
	ctx := t.Context()
	made, err := apiclient.Create[corev1.ConfigMap](ctx, g.admin, "/api/v1/namespaces/default/configmaps", &corev1.ConfigMap{Data: map[string]string{"a": "1"}})
	if err == nil || !apierrors.IsInvalid(err) {
		t.Fatalf("an object without a name: got %v, %v", made, err)
	}
}
