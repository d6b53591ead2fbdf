package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Finding 12: one namespace's writer could fill every gateway's memory.
func TestFinding12ANamespaceThatIsFullHindersNobodyElse(t *testing.T) {
	g := start(t, func(c *Config) { c.Quota.Namespace = "64Ki" })
	path := newNamespace(t, g, "full")
	large := func(name string) *corev1.ConfigMap {
		c := configMap(name)
		c.Data = map[string]string{"x": strings.Repeat("x", 10<<10)}
		return c
	}
	var refused error
	for i := 0; refused == nil; i++ {
		if i > 10 {
			t.Fatal("nothing was refused")
		}
		_, refused = g.do(t, "POST", path+"/configmaps", large(fmt.Sprint("c", i)))
	}
	var status apierrors.APIStatus
	if s, ok := refused.(apierrors.APIStatus); ok {
		status = s
	}
	if status == nil || status.Status().Code != http.StatusInsufficientStorage || status.Status().Reason != "InsufficientStorage" ||
		!strings.Contains(status.Status().Message, `the objects of namespace "full" take`) {
		t.Fatalf("got %v", refused)
	}
	// A pod that is there is ended in the usual way, and what is there may change.
	must[corev1.ConfigMap](t, g, "PATCH", path+"/configmaps/c0", `{"metadata":{"labels":{"a":"b"}}}`, "application/merge-patch+json")
	must[metav1.Status](t, g, "DELETE", path+"/configmaps/c0", nil)
	must[corev1.ConfigMap](t, g, "POST", path+"/configmaps", large("again"))
	must[corev1.ConfigMap](t, g, "POST", newNamespace(t, g, "other")+"/configmaps", large("c"))
	bulk, err := json.Marshal(large("more"))
	if err != nil {
		t.Fatal(err)
	}
	g.fails(t, "InsufficientStorage", "cannot be stored", "POST", path+"/configmaps", string(bulk))
}
