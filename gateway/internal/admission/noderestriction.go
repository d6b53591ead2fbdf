package admission

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	kubeletapis "k8s.io/kubelet/pkg/apis"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/authentication"
	api "k8s.io/kubernetes/pkg/apis/core"

	"kubus.dev/proto"
)

const nodeUserPrefix = "system:node:"

// nodeRestriction is upstream's NodeRestriction: a node changes only itself, its
// own lease, and what is bound to pods that run on it.
type nodeRestriction struct {
	*admission.Handler
	source Source
	pods   *lookup[podPlace]
}

// podPlace is the part of a Pod that matters here.
type podPlace struct {
	Metadata struct {
		UID string `json:"uid"`
	} `json:"metadata"`
	Spec struct {
		NodeName string `json:"nodeName"`
		Volumes  []struct {
			Projected *struct {
				Sources []struct {
					ServiceAccountToken *struct {
						Audience string `json:"audience"`
					} `json:"serviceAccountToken"`
				} `json:"sources"`
			} `json:"projected"`
		} `json:"volumes"`
	} `json:"spec"`
}

func newNodeRestriction(source Source) nodeRestriction {
	return nodeRestriction{admission.NewHandler(admission.Create, admission.Update, admission.Delete), source,
		newLookup[podPlace](source, proto.GroupResource{Resource: "pods"})}
}

// nodeOf gives the name of the node that the user is.
func nodeOf(u user.Info) (name string, isNode bool) {
	if u == nil || !strings.HasPrefix(u.GetName(), nodeUserPrefix) {
		return "", false
	}
	for _, group := range u.GetGroups() {
		if group == user.NodesGroup {
			return strings.TrimPrefix(u.GetName(), nodeUserPrefix), true
		}
	}
	return "", false
}

func (n nodeRestriction) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	node, isNode := nodeOf(a.GetUserInfo())
	if !isNode {
		return nil
	}
	if node == "" {
		return admission.NewForbidden(a, fmt.Errorf("could not determine node from user %q", a.GetUserInfo().GetName()))
	}
	switch resource := a.GetResource(); {
	case resource.Group == "" && resource.Resource == "pods":
		return n.admitPods(ctx, node, a)
	case resource.Group == "" && resource.Resource == "nodes":
		return admitNode(node, a)
	case resource.Group == "" && resource.Resource == "serviceaccounts":
		return n.admitToken(ctx, node, a)
	case resource.Group == "coordination.k8s.io" && resource.Resource == "leases":
		return admitLease(node, a)
	}
	return nil
}

func (n nodeRestriction) admitPods(ctx context.Context, node string, a admission.Attributes) error {
	switch sub, op := a.GetSubresource(), a.GetOperation(); {
	case sub == "" && op == admission.Create:
		return n.admitMirror(node, a)
	case sub == "" && op == admission.Delete:
		return n.ownPod(ctx, a, a.GetName(), fmt.Errorf("node %q can only delete pods with spec.nodeName set to itself", node), node)
	case sub == "":
		return admission.NewForbidden(a, fmt.Errorf("unexpected operation %q, node %q can only create and delete mirror pods", op, node))
	case sub == "status" && op == admission.Update:
		return admitPodStatus(node, a)
	case sub == "eviction" && op == admission.Create:
		return n.ownPod(ctx, a, a.GetName(), fmt.Errorf("node %s can only evict pods with spec.nodeName set to itself", node), node)
	case sub == "status", sub == "eviction":
		return admission.NewForbidden(a, fmt.Errorf("unexpected operation %q", op))
	}
	return admission.NewForbidden(a, fmt.Errorf("unexpected pod subresource %q, only 'status' and 'eviction' are allowed", a.GetSubresource()))
}

// place finds a pod, behind a barrier if the view has none.
func (n nodeRestriction) place(ctx context.Context, a admission.Attributes, name string) (*podPlace, error) {
	pod, err := n.pods.get(a.GetNamespace(), name)
	if err == nil && pod == nil {
		pod, err = n.pods.latest(ctx, a.GetNamespace(), name)
	}
	if err != nil {
		return nil, admission.NewForbidden(a, err)
	}
	if pod == nil {
		return nil, apierrors.NewNotFound(api.Resource("pods"), name)
	}
	return pod, nil
}

func (n nodeRestriction) ownPod(ctx context.Context, a admission.Attributes, name string, refusal error, node string) error {
	pod, err := n.place(ctx, a, name)
	if err != nil {
		return err
	}
	if pod.Spec.NodeName != node {
		return admission.NewForbidden(a, refusal)
	}
	return nil
}

func (n nodeRestriction) admitMirror(node string, a admission.Attributes) error {
	pod, ok := a.GetObject().(*api.Pod)
	if !ok {
		return admission.NewForbidden(a, fmt.Errorf("unexpected type %T", a.GetObject()))
	}
	forbid := func(format string, args ...any) error { return admission.NewForbidden(a, fmt.Errorf(format, args...)) }
	if _, mirror := pod.Annotations[api.MirrorPodAnnotationKey]; !mirror {
		return forbid("pod does not have %q annotation, node %q can only create mirror pods", api.MirrorPodAnnotationKey, node)
	}
	if pod.Spec.NodeName != node {
		return forbid("node %q can only create pods with spec.nodeName set to itself", node)
	}
	if len(pod.OwnerReferences) > 1 {
		return forbid("node %q can only create pods with a single owner reference set to itself", node)
	}
	if len(pod.OwnerReferences) == 0 {
		return forbid("node %q can only create pods with an owner reference set to itself", node)
	}
	owner := pod.OwnerReferences[0]
	switch {
	case owner.APIVersion != "v1" || owner.Kind != "Node" || owner.Name != node:
		return forbid("node %q can only create pods with an owner reference set to itself", node)
	case owner.Controller == nil || !*owner.Controller:
		return forbid("node %q can only create pods with a controller owner reference set to itself", node)
	case owner.BlockOwnerDeletion != nil && *owner.BlockOwnerDeletion:
		return forbid("node %q must not set blockOwnerDeletion on an owner reference", node)
	}
	gr := proto.GroupResource{Resource: "nodes"}
	entry := n.source.View(gr).Get(gr, "", node)
	if entry == nil {
		return apierrors.NewNotFound(api.Resource("nodes"), node)
	}
	if uid := entry.Meta().UID; string(owner.UID) != uid {
		return forbid("node %s UID mismatch: expected %s got %s", node, owner.UID, uid)
	}
	referencing, what, err := podutil.HasAPIObjectReference(pod)
	if err != nil {
		return forbid("error checking mirror pod for API references: %w", err)
	}
	if referencing {
		return forbid("node %q can not create pods that reference %s", node, what)
	}
	return nil
}

func admitPodStatus(node string, a admission.Attributes) error {
	old, okOld := a.GetOldObject().(*api.Pod)
	pod, ok := a.GetObject().(*api.Pod)
	switch {
	case !okOld || !ok:
		return admission.NewForbidden(a, fmt.Errorf("unexpected type %T", a.GetObject()))
	case old.Spec.NodeName != node:
		return admission.NewForbidden(a, fmt.Errorf("node %q can only update pod status for pods with spec.nodeName set to itself", node))
	case !labels.Equals(old.Labels, pod.Labels):
		return admission.NewForbidden(a, fmt.Errorf("node %q cannot update labels through pod status", node))
	case !apiequality.Semantic.DeepEqual(old.Status.ResourceClaimStatuses, pod.Status.ResourceClaimStatuses):
		return admission.NewForbidden(a, fmt.Errorf("node %q cannot update resource claim statues", node))
	}
	return nil
}

func admitNode(node string, a admission.Attributes) error {
	if a.GetName() != node {
		return admission.NewForbidden(a, fmt.Errorf("node %q is not allowed to modify node %q", node, a.GetName()))
	}
	var before *api.Node
	switch a.GetOperation() {
	case admission.Create:
		before = &api.Node{}
	case admission.Update:
		old, ok := a.GetOldObject().(*api.Node)
		if !ok {
			return admission.NewForbidden(a, fmt.Errorf("unexpected type %T", a.GetOldObject()))
		}
		before = old
	default:
		return nil
	}
	after, ok := a.GetObject().(*api.Node)
	if !ok {
		return admission.NewForbidden(a, fmt.Errorf("unexpected type %T", a.GetObject()))
	}
	return compareNode(node, a, before, after)
}

func compareNode(node string, a admission.Attributes, before, after *api.Node) error {
	creating := a.GetOperation() == admission.Create
	forbidden := forbiddenLabels(before.Labels, after.Labels)
	switch {
	case creating && after.Spec.ConfigSource != nil:
		return admission.NewForbidden(a, fmt.Errorf("node %q is not allowed to create pods with a non-nil configSource", node))
	case creating && len(forbidden) > 0:
		return admission.NewForbidden(a, fmt.Errorf("node %q is not allowed to set the following labels: %s", node, strings.Join(forbidden, ", ")))
	case creating:
		return nil
	case after.Spec.ConfigSource != nil && !apiequality.Semantic.DeepEqual(after.Spec.ConfigSource, before.Spec.ConfigSource):
		return admission.NewForbidden(a, fmt.Errorf("node %q is not allowed to update configSource to a new non-nil configSource", node))
	case !apiequality.Semantic.DeepEqual(after.Spec.Taints, before.Spec.Taints):
		return admission.NewForbidden(a, fmt.Errorf("node %q is not allowed to modify taints", node))
	case !apiequality.Semantic.DeepEqual(after.OwnerReferences, before.OwnerReferences):
		return admission.NewForbidden(a, fmt.Errorf("node %q is not allowed to modify ownerReferences", node))
	case len(forbidden) > 0:
		return admission.NewForbidden(a, fmt.Errorf("is not allowed to modify labels: %s", strings.Join(forbidden, ", ")))
	}
	return nil
}

// forbiddenLabels lists the changed labels that are not a node's to change, sorted.
func forbiddenLabels(before, after map[string]string) []string {
	var out []string
	check := func(key string) {
		namespace, _, ok := strings.Cut(key, "/")
		if !ok {
			namespace = ""
		}
		inside := func(domain string) bool { return namespace == domain || strings.HasSuffix(namespace, "."+domain) }
		if inside(corev1.LabelNamespaceNodeRestriction) || (inside("kubernetes.io") || inside("k8s.io")) && !kubeletapis.IsKubeletLabel(key) {
			out = append(out, key)
		}
	}
	for key, value := range after {
		if old, ok := before[key]; !ok || old != value {
			check(key)
		}
	}
	for key := range before {
		if _, ok := after[key]; !ok {
			check(key)
		}
	}
	sort.Strings(out)
	return out
}

// admitToken lets a node ask for tokens of its own pods only.
func (n nodeRestriction) admitToken(ctx context.Context, node string, a admission.Attributes) error {
	if a.GetOperation() != admission.Create || a.GetSubresource() != "token" {
		return nil
	}
	request, ok := a.GetObject().(*authentication.TokenRequest)
	if !ok {
		return admission.NewForbidden(a, fmt.Errorf("unexpected type %T", a.GetObject()))
	}
	ref := request.Spec.BoundObjectRef
	switch {
	case ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "":
		return admission.NewForbidden(a, errors.New("node requested token not bound to a pod"))
	case ref.UID == "":
		return admission.NewForbidden(a, errors.New("node requested token with a pod binding without a uid"))
	}
	pod, err := n.place(ctx, a, ref.Name)
	switch {
	case err != nil:
		return err
	case string(ref.UID) != pod.Metadata.UID:
		return admission.NewForbidden(a, fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	case pod.Spec.NodeName != node:
		return admission.NewForbidden(a, errors.New("node requested token bound to a pod scheduled on a different node"))
	}
	return admitAudience(a, request.Spec.Audiences, pod)
}

// admitAudience holds the node to the audiences that the pod asks for.
func admitAudience(a admission.Attributes, audiences []string, pod *podPlace) error {
	asked := ""
	switch len(audiences) {
	case 0:
	case 1:
		asked = audiences[0]
	default:
		return admission.NewForbidden(a, errors.New("node may only request 0 or 1 audiences"))
	}
	for _, v := range pod.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, source := range v.Projected.Sources {
			if source.ServiceAccountToken != nil && source.ServiceAccountToken.Audience == asked {
				return nil
			}
		}
	}
	return admission.NewForbidden(a, fmt.Errorf("%s is not authorized to request tokens for audience %q", a.GetUserInfo().GetName(), asked))
}

func admitLease(node string, a admission.Attributes) error {
	if a.GetNamespace() != corev1.NamespaceNodeLease {
		return admission.NewForbidden(a, fmt.Errorf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease))
	}
	if a.GetOperation() == admission.Create {
		if accessor, ok := a.GetObject().(interface{ GetName() string }); !ok || accessor.GetName() != node {
			return admission.NewForbidden(a, fmt.Errorf("can only access node lease with the same name as the requesting node"))
		}
		return nil
	}
	if a.GetName() != node {
		return admission.NewForbidden(a, fmt.Errorf("can only access node lease with the same name as the requesting node"))
	}
	return nil
}
