package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
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
	noRoom(t, refused, `the objects of namespace "full" take`)
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

// Nor do objects of no namespace take the room of those that have one, or the other way.
func TestFinding12AClusterThatIsFullHindersNoNamespace(t *testing.T) {
	g := start(t, func(c *Config) { c.Quota.Namespace, c.Quota.Cluster = "64Ki", "1Mi" }) // what is there from the start takes some
	class := func(name string) string {
		return fmt.Sprintf(`{"metadata":{"name":%q,"annotations":{"x":%q}},"value":1}`, name, strings.Repeat("x", 100<<10))
	}
	const path = "/apis/scheduling.k8s.io/v1/priorityclasses"
	space := newNamespace(t, g, "beside")
	var refused error
	for i := 0; refused == nil; i++ {
		if i > 10 {
			t.Fatal("nothing was refused")
		}
		_, refused = g.do(t, "POST", path, class(fmt.Sprint("c", i)))
	}
	noRoom(t, refused, "the objects of no namespace take")
	must[schedulingv1.PriorityClass](t, g, "PATCH", path+"/c0", `{"metadata":{"labels":{"a":"b"}}}`, "application/merge-patch+json")
	must[corev1.ConfigMap](t, g, "POST", space+"/configmaps", configMap("c"))
	must[metav1.Status](t, g, "DELETE", path+"/c0", nil)
	must[schedulingv1.PriorityClass](t, g, "POST", path, class("again"))
}

// noRoom wants an answer of 507 that tells whose budget is spent.
func noRoom(t *testing.T, err error, whose string) {
	t.Helper()
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Code != http.StatusInsufficientStorage || status.Status().Reason != "InsufficientStorage" ||
		!strings.Contains(status.Status().Message, whose) {
		t.Fatalf("got %v", err)
	}
}
