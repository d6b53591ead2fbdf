package bootstrap

import (
	"context"
	"fmt"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/apis/networking"
)

// defaultCIDR names the range that Services get their addresses from.
const defaultCIDR = "kubernetes"

// serviceCIDR is the range as an object; nothing where no range is configured.
func (b *boot) serviceCIDR() []runtime.Object {
	if len(b.o.ServiceCIDRs) == 0 {
		return nil
	}
	return []runtime.Object{&networkingv1.ServiceCIDR{
		TypeMeta:   typed("ServiceCIDR", networkingv1.SchemeGroupVersion),
		ObjectMeta: metav1.ObjectMeta{Name: defaultCIDR},
		Spec:       networkingv1.ServiceCIDRSpec{CIDRs: b.o.ServiceCIDRs},
	}}
}

// readyCIDR says in the object's status that its range is in use. As upstream, a
// range that is another than the configured one and a condition that somebody set
// are left alone.
func (b *boot) readyCIDR(ctx context.Context) error {
	if len(b.o.ServiceCIDRs) == 0 {
		return nil
	}
	kind := kindOf(networkingv1.SchemeGroupVersion.WithKind("ServiceCIDR"))
	ctx = b.context(ctx, kind, &metav1.ObjectMeta{Name: defaultCIDR})
	obj, err := b.o.Storage.Store(kind).Get(ctx, defaultCIDR, &metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("bootstrap: ServiceCIDR: %w", err)
	}
	live, ok := obj.(*networking.ServiceCIDR)
	if !ok || !needsReady(live, b.o.ServiceCIDRs) {
		return nil
	}
	meta.SetStatusCondition(&live.Status.Conditions, metav1.Condition{
		Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue,
		Message: "Kubernetes default Service CIDR is ready", LastTransitionTime: metav1.Now(),
	})
	status, ok := b.o.Storage.Subresource(kind, "status").(rest.Updater)
	if !ok {
		return fmt.Errorf("bootstrap: %s has no status", kind.GVK.Kind)
	}
	_, _, err = status.Update(ctx, defaultCIDR, rest.DefaultUpdatedObjectInfo(live), rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
	if apierrors.IsConflict(err) {
		return nil // another gateway was faster
	}
	if err != nil {
		return fmt.Errorf("bootstrap: ServiceCIDR: %w", err)
	}
	b.written.Add(1)
	return nil
}

func needsReady(live *networking.ServiceCIDR, configured []string) bool {
	if live.DeletionTimestamp != nil || !slices.Equal(live.Spec.CIDRs, configured) {
		return false
	}
	return meta.FindStatusCondition(live.Status.Conditions, networkingv1.ServiceCIDRConditionReady) == nil
}
