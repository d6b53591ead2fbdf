package source

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/bustest/apitest"
)

func TestAPodKeepsTheHandlerThatItsClassHad(t *testing.T) {
	t.Parallel()
	api, store := apitest.New(), open(t)
	classes := NewClasses(api.Client("system:node:n"), store)
	const path = "/apis/node.k8s.io/v1/runtimeclasses/sandboxed"
	pod := func(uid types.UID, class *string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid}, Spec: corev1.PodSpec{RuntimeClassName: class}}
	}
	name := "sandboxed"
	if h, err := classes.Handler(t.Context(), pod("none", nil)); h != "" || err != nil {
		t.Errorf("without a class: %q, %v", h, err)
	}
	if _, err := classes.Handler(t.Context(), pod("a", &name)); !apierrors.IsNotFound(err) {
		t.Errorf("a class that is not there: %v", err)
	}
	class := func(handler string) {
		api.Put(path, &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Handler: handler})
	}
	class("first")
	if h, err := classes.Handler(t.Context(), pod("a", &name)); h != "first" || err != nil {
		t.Errorf("%q, %v", h, err)
	}
	class("second") // the class was deleted and made again
	for uid, want := range map[types.UID]string{"a": "first", "b": "second"} {
		if h, err := classes.Handler(t.Context(), pod(uid, &name)); h != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", uid, h, err, want)
		}
	}
}
