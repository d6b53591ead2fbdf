package resource

import (
	"fmt"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	api "k8s.io/kubernetes/pkg/apis/certificates"
	"k8s.io/kubernetes/pkg/registry/certificates/certificates"
	"k8s.io/kubernetes/pkg/registry/certificates/clustertrustbundle"
	"k8s.io/kubernetes/pkg/registry/certificates/podcertificaterequest"
	"k8s.io/utils/clock"
)

var certificatesV1 = schema.GroupVersion{Group: "certificates.k8s.io", Version: "v1"}

func certificateKinds() []*Kind {
	podCertificates := podcertificaterequest.NewStrategy()
	return []*Kind{
		{
			GVR: certificatesV1.WithResource("certificatesigningrequests"), GVK: certificatesV1.WithKind("CertificateSigningRequest"), Singular: "certificatesigningrequest",
			ShortNames: []string{"csr"}, Served: []schema.GroupVersion{certificatesV1},
			New:     func() runtime.Object { return &api.CertificateSigningRequest{} },
			NewList: func() runtime.Object { return &api.CertificateSigningRequestList{} },
			Create:  certificates.Strategy, Update: certificates.Strategy, Delete: certificates.Strategy,
			Attrs: certificates.GetAttrs,
			Subresources: []Subresource{
				{Name: "approval", Kind: certificatesV1.WithKind("CertificateSigningRequest"), Verbs: updatable, Update: certificates.ApprovalStrategy},
				{Name: "status", Kind: certificatesV1.WithKind("CertificateSigningRequest"), Verbs: updatable, Update: certificates.StatusStrategy},
			},
		},
		{
			GVR: certificatesV1.WithResource("clustertrustbundles"), GVK: certificatesV1.WithKind("ClusterTrustBundle"), Singular: "clustertrustbundle",
			Served:  []schema.GroupVersion{certificatesV1},
			New:     func() runtime.Object { return &api.ClusterTrustBundle{} },
			NewList: func() runtime.Object { return &api.ClusterTrustBundleList{} },
			Create:  clustertrustbundle.Strategy, Update: clustertrustbundle.Strategy, Delete: clustertrustbundle.Strategy,
			Attrs: trustBundleAttrs,
		},
		{
			GVR: certificatesV1.WithResource("podcertificaterequests"), GVK: certificatesV1.WithKind("PodCertificateRequest"), Singular: "podcertificaterequest",
			Namespaced: true, Served: []schema.GroupVersion{certificatesV1},
			New:     func() runtime.Object { return &api.PodCertificateRequest{} },
			NewList: func() runtime.Object { return &api.PodCertificateRequestList{} },
			Create:  podCertificates, Update: podCertificates, Delete: podCertificates,
			Attrs: podCertificateAttrs, Bind: func(o Others) Strategies {
				return Strategies{Create: podCertificates, Update: podCertificates, Parts: map[string]rest.RESTUpdateStrategy{
					"status": podcertificaterequest.NewStatusStrategy(podCertificates, o.Authorizer, clock.RealClock{}),
				}}
			},
			Subresources: []Subresource{
				{Name: "status", Kind: certificatesV1.WithKind("PodCertificateRequest"), Verbs: updatable, Update: podcertificaterequest.NewStatusStrategy(podCertificates, nil, nil)},
			},
		},
	}
}

// trustBundleAttrs and podCertificateAttrs are upstream's, which it does not export.
func trustBundleAttrs(obj runtime.Object) (labels.Set, fields.Set, error) {
	bundle, ok := obj.(*api.ClusterTrustBundle)
	if !ok {
		return nil, nil, fmt.Errorf("%T is not a ClusterTrustBundle", obj)
	}
	set := generic.ObjectMetaFieldsSet(&bundle.ObjectMeta, false)
	set["spec.signerName"] = bundle.Spec.SignerName
	return bundle.Labels, set, nil
}

func podCertificateAttrs(obj runtime.Object) (labels.Set, fields.Set, error) {
	req, ok := obj.(*api.PodCertificateRequest)
	if !ok {
		return nil, nil, fmt.Errorf("%T is not a PodCertificateRequest", obj)
	}
	set := generic.ObjectMetaFieldsSet(&req.ObjectMeta, true)
	set["spec.signerName"] = req.Spec.SignerName
	set["spec.podName"] = req.Spec.PodName
	set["spec.nodeName"] = string(req.Spec.NodeName)
	return req.Labels, set, nil
}
