package token

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/audit"
	apiserverserviceaccount "k8s.io/apiserver/pkg/authentication/serviceaccount"
	tokenjwt "k8s.io/apiserver/pkg/authentication/token/jwt"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/kubernetes/pkg/apis/authentication"
	"k8s.io/kubernetes/pkg/apis/authentication/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/serviceaccount"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

var requestKind = schema.GroupVersionKind{Group: "authentication.k8s.io", Version: "v1", Kind: "TokenRequest"}

// Request serves serviceaccounts/NAME/token: upstream's TokenREST over views
// (pkg/registry/core/serviceaccount/storage/token.go), without tokens for webhooks.
type Request struct{ issuer *Issuer }

var (
	_ rest.NamedCreater             = &Request{}
	_ rest.GroupVersionKindProvider = &Request{}
	_ rest.Storage                  = &Request{}
)

// Request makes the subresource.
func (i *Issuer) Request() *Request { return &Request{i} }

// New makes an empty TokenRequest.
func (r *Request) New() runtime.Object { return &authentication.TokenRequest{} }

// Destroy does nothing.
func (r *Request) Destroy() {}

// GroupVersionKind is TokenRequest's, whatever group the path is of.
func (r *Request) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind { return requestKind }

// PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate keeps the UID that the
// client asked for.
func (r *Request) PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate() bool { return true }

// Create signs a token.
func (r *Request) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	req, ok := obj.(*authentication.TokenRequest)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a TokenRequest: %#v", obj))
	}
	ns, ok := request.NamespaceFrom(ctx)
	if !ok {
		return nil, apierrors.NewBadRequest("namespace is required")
	}
	account, err := r.account(ns, name, req)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	r.complete(req, account, now)
	if errs := validation.ValidateTokenRequest(req); len(errs) > 0 {
		return nil, apierrors.NewInvalid(requestKind.GroupKind(), "", errs)
	}
	if validate != nil {
		if err := validate(ctx, obj.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	bound, err := r.bound(ns, name, req.Spec.BoundObjectRef)
	if err != nil {
		return nil, err
	}
	lives, warnAfter := r.expiration(ctx, req, bound)
	claims, private, err := serviceaccount.Claims(*account, bound.pod, bound.secret, bound.node, nil, nil, lives, warnAfter, req.Spec.Audiences, nil)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	text, err := r.issuer.generator.GenerateToken(ctx, claims, private)
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("failed to generate token: %w", err))
	}
	if claims.ID != "" {
		audit.AddAuditAnnotation(ctx, apiserverserviceaccount.IssuedCredentialIDAuditAnnotationKey, tokenjwt.CredentialIDForJTI(claims.ID))
	}
	out := req.DeepCopy()
	out.Status = authentication.TokenRequestStatus{
		Token:               text,
		ExpirationTimestamp: metav1.Time{Time: now.Add(time.Duration(out.Spec.ExpirationSeconds) * time.Second)},
	}
	return out, nil
}

// expiration is how many seconds the token lives, and after how many its use warns; 0:
// never. The request is told what it asked for at most. Pods' tokens of an hour live on
// where they are extended: old clients do not load them again.
func (r *Request) expiration(ctx context.Context, req *authentication.TokenRequest, b bound) (lives, warnAfter int64) {
	most := int64(r.issuer.maximum / time.Second)
	if most > 0 && req.Spec.ExpirationSeconds > most {
		warning.AddWarning(ctx, "", fmt.Sprintf("requested expiration of %d seconds shortened to %d seconds", req.Spec.ExpirationSeconds, most))
		req.Spec.ExpirationSeconds = most
	}
	asked := req.Spec.ExpirationSeconds
	if !r.issuer.extend || b.pod == nil || asked != serviceaccount.WarnOnlyBoundTokenExpirationSeconds || !r.forAPI(req.Spec.Audiences) {
		return asked, 0
	}
	lives = int64(ExtendedFor / time.Second)
	if most > 0 {
		lives = min(lives, most)
	}
	return lives, asked
}

// forAPI tells a token for the API alone.
func (r *Request) forAPI(audiences []string) bool {
	own := r.issuer.Audiences()
	for _, a := range audiences {
		if !slices.Contains(own, a) {
			return false
		}
	}
	return true
}

// account finds the ServiceAccount and checks that the request is about it.
func (r *Request) account(ns, name string, req *authentication.TokenRequest) (*core.ServiceAccount, error) {
	if req.Name != "" && req.Name != name {
		return nil, apierrors.NewInvalid(requestKind.GroupKind(), name, field.ErrorList{
			field.Invalid(field.NewPath("metadata").Child("name"), req.Name, "must match the service account name if specified")})
	}
	if req.Namespace != "" && req.Namespace != ns {
		return nil, apierrors.NewInvalid(requestKind.GroupKind(), name, field.ErrorList{
			field.Invalid(field.NewPath("metadata").Child("namespace"), req.Namespace, "must match the service account namespace if specified")})
	}
	meta, err := r.issuer.getter.meta("serviceaccounts", ns, name)
	if err != nil {
		return nil, err
	}
	if req.UID != "" && req.UID != meta.UID {
		return nil, apierrors.NewConflict(schema.GroupResource{Group: requestKind.Group, Resource: requestKind.Kind}, name,
			fmt.Errorf("the UID in the token request (%s) does not match the UID of the service account (%s)", req.UID, meta.UID))
	}
	return &core.ServiceAccount{ObjectMeta: meta}, nil
}

func (r *Request) complete(req *authentication.TokenRequest, account *core.ServiceAccount, now time.Time) {
	if len(req.Spec.Audiences) == 0 {
		req.Spec.Audiences = r.issuer.Audiences()
	}
	req.Name, req.Namespace, req.UID = account.Name, account.Namespace, account.UID
	req.CreationTimestamp = metav1.NewTime(now)
	req.Status = authentication.TokenRequestStatus{}
}

// bound is what a token dies with; at most one of pod, secret, node, but a pod's
// token also names the pod's node.
type bound struct {
	pod    *core.Pod
	secret *core.Secret
	node   *core.Node
}

func (r *Request) bound(ns, account string, ref *authentication.BoundObjectReference) (bound, error) {
	var b bound
	if ref == nil {
		return b, nil
	}
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	var uid types.UID
	switch gvk.GroupKind() {
	case schema.GroupKind{Kind: "Pod"}:
		pod, err := r.pod(ns, account, ref.Name)
		if err != nil {
			return b, err
		}
		b.pod, uid = pod, pod.UID
		if node := pod.Spec.NodeName; node != "" {
			meta, err := r.issuer.getter.meta("nodes", "", node)
			if err != nil { // the name alone still tells the token's readers something
				meta = metav1.ObjectMeta{Name: node}
			}
			b.node = &core.Node{ObjectMeta: meta}
		}
	case schema.GroupKind{Kind: "Node"}:
		meta, err := r.issuer.getter.meta("nodes", "", ref.Name)
		if err != nil {
			return b, err
		}
		b.node, uid = &core.Node{ObjectMeta: meta}, meta.UID
	case schema.GroupKind{Kind: "Secret"}:
		meta, err := r.issuer.getter.meta("secrets", ns, ref.Name)
		if err != nil {
			return b, err
		}
		b.secret, uid = &core.Secret{ObjectMeta: meta}, meta.UID
	default:
		return b, apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", gvk.String()))
	}
	if ref.UID != "" && uid != ref.UID {
		return b, apierrors.NewConflict(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, ref.Name,
			fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	return b, nil
}

func (r *Request) pod(ns, account, name string) (*core.Pod, error) {
	gr := proto.GroupResource{Resource: "pods"}
	e := r.issuer.getter.view(gr).Get(gr, ns, name)
	if e == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, name)
	}
	pod, err := statelog.Decode[corev1.Pod](e)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if pod.Spec.ServiceAccountName != account {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", account))
	}
	return &core.Pod{ObjectMeta: pod.ObjectMeta, Spec: core.PodSpec{NodeName: pod.Spec.NodeName, ServiceAccountName: account}}, nil
}
