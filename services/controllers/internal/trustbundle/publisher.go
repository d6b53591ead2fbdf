// Package trustbundle publishes the CA of the API as the ClusterTrustBundle of the
// signer kubernetes.io/kube-apiserver-serving, named after a hash of its content, and
// deletes that signer's bundles of other content.
package trustbundle

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
)

const signer = "kubernetes.io/kube-apiserver-serving"

type bundle = certificatesv1.ClusterTrustBundle

type publisher struct {
	ca      string
	bundles *mirror.Kind[bundle]
	objects frame.Objects[bundle]
}

// Controller publishes the configured CA; without one it does nothing.
func Controller() frame.Definition {
	return frame.Definition{Name: "kube-apiserver-serving-clustertrustbundle-publisher", User: "kube-apiserver-serving-clustertrustbundle-publisher", Workers: 1, Make: func(e *frame.Env) (frame.Loop, error) {
		if e.Config.RootCA == "" {
			return nil, nil
		}
		p := &publisher{e.Config.RootCA, e.World.ClusterTrustBundles, frame.Of(e, e.World.ClusterTrustBundles)}
		queue := frame.Keyed(e, p.reconcile, frame.On(p.bundles, func(old, new *bundle, add func(string)) {
			if old != nil && old.Spec.SignerName == signer || new != nil && new.Spec.SignerName == signer {
				add(signer)
			}
		}))
		queue.Add(signer)
		return queue, nil
	}}
}

func (p *publisher) reconcile(ctx context.Context, _ string) (time.Duration, error) {
	next := plan(p.ca, p.bundles.List(""))
	var err error
	switch {
	case next.Create != nil:
		_, err = p.objects.Create(ctx, next.Create)
	case next.Update != nil:
		_, err = p.objects.Update(ctx, next.Update)
	}
	if err != nil {
		return 0, fmt.Errorf("publishing the CA: %w", err)
	}
	var failed []error
	for _, old := range next.Delete {
		if err := p.objects.Delete(ctx, old, nil); err != nil && !apierrors.IsConflict(err) {
			failed = append(failed, fmt.Errorf("deleting trust bundle %s: %w", old.Name, err))
		}
	}
	return 0, errors.Join(failed...)
}

// changes lead to one bundle of the signer with the CA's content.
type changes struct {
	Create, Update *bundle
	Delete         []*bundle
}

func plan(ca string, present []*bundle) (next changes) {
	want := &bundle{ObjectMeta: metav1.ObjectMeta{Name: name(ca)}, Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: signer, TrustBundle: ca}}
	next.Create = want
	for _, b := range present {
		switch {
		case b.Name == want.Name:
			next.Create = nil
			if b.Spec.TrustBundle != ca {
				next.Update = b.DeepCopy()
				next.Update.Spec.TrustBundle = ca
			}
		case b.Spec.SignerName == signer:
			next.Delete = append(next.Delete, b)
		}
	}
	return next
}

// name is upstream's for a signer's bundle.
func name(ca string) string {
	sum := sha256.Sum256([]byte(ca))
	return fmt.Sprintf("%s:%x", strings.ReplaceAll(signer, "/", ":"), sum[:12])
}
