package api

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/scheduler/internal/planner"
	"kubus.dev/services/scheduler/internal/shape"
)

func TestClaimRequest(t *testing.T) {
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "data", UID: "c", ResourceVersion: "7"}}
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "a", UID: "v", ResourceVersion: "9"}}
	for name, tt := range map[string]struct {
		binding shape.Binding
		path    string
		body    string
	}{
		"a volume is to be made": {shape.Binding{Claim: claim}, "/api/v1/namespaces/ns/persistentvolumeclaims/data",
			`{"metadata":{"annotations":{"volume.kubernetes.io/selected-node":"n1"},"resourceVersion":"7","uid":"c"}}`},
		"a volume is there": {shape.Binding{Claim: claim, Volume: pv}, "/api/v1/persistentvolumes/a",
			`{"metadata":{"annotations":{"pv.kubernetes.io/bound-by-controller":"yes"},"resourceVersion":"9","uid":"v"},"spec":{"claimRef":{"kind":"PersistentVolumeClaim","namespace":"ns","name":"data","uid":"c","apiVersion":"v1","resourceVersion":"7"}}}`},
	} {
		r, err := claimRequest(tt.binding, "n1")
		if err != nil || r.Method != "PATCH" || r.Path != tt.path || string(r.Body) != tt.body {
			t.Errorf("%s: %s %s %s, %v", name, r.Method, r.Path, r.Body, err)
		}
	}
}

func TestPrepared(t *testing.T) {
	claims := schema.GroupResource{Resource: "persistentvolumeclaims"}
	fine, conflict, away := apiclient.Result{}, apiclient.Result{Err: apierrors.NewConflict(claims, "data", errors.New("changed"))}, apiclient.Result{Err: apierrors.NewServiceUnavailable("store")}
	for name, tt := range map[string]struct {
		results []apiclient.Result
		want    planner.Outcome
	}{
		"all written":                     {[]apiclient.Result{fine, fine}, planner.Prepared},
		"one changed meanwhile":           {[]apiclient.Result{fine, conflict}, planner.Refused},
		"one unknown":                     {[]apiclient.Result{away, fine}, planner.Unknown},
		"a no counts more than not known": {[]apiclient.Result{away, conflict}, planner.Refused},
	} {
		if got := prepared(tt.results); got.Outcome != tt.want {
			t.Errorf("%s: %v, want %v", name, got.Outcome, tt.want)
		}
	}
}
