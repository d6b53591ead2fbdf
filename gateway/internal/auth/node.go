package auth

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
	"k8s.io/kubernetes/pkg/auth/nodeidentifier"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
	"kubus.dev/proto/volume"
)

// nodeIndex finds pods by their node; package read registers it.
const nodeIndex = "spec.nodeName"

var (
	pods   = proto.GroupResource{Resource: "pods"}
	claims = proto.GroupResource{Resource: "persistentvolumeclaims"}
)

// nodes gives an agent what the pods on its node need, with upstream's rules and
// words (plugin/pkg/auth/authorizer/node). Instead of a graph it asks the
// view's index for the node's pods.
type nodes struct {
	identifier nodeidentifier.NodeIdentifier
	rules      []rbacv1.PolicyRule
	view       ViewFunc
	refs       *decoded[*references]
	bound      *decoded[string] // of claims: the volume
}

// references are the objects that a pod names.
type references struct {
	secrets, configMaps, claims map[string]bool
	serviceAccount              string
}

func newNodes(view ViewFunc) *nodes {
	return &nodes{identifier: nodeidentifier.NewDefaultNodeIdentifier(), rules: bootstrappolicy.NodeRules(), view: view, refs: newDecoded(referencesOf), bound: newDecoded(volumeOf)}
}

func volumeOf(e *statelog.Entry) (string, error) {
	claim, err := statelog.Decode[corev1.PersistentVolumeClaim](e)
	if err != nil {
		return "", err
	}
	return claim.Spec.VolumeName, nil
}

func referencesOf(e *statelog.Entry) (*references, error) {
	pod, err := statelog.Decode[corev1.Pod](e)
	if err != nil {
		return nil, err
	}
	r := &references{secrets: map[string]bool{}, configMaps: map[string]bool{}, claims: map[string]bool{}, serviceAccount: pod.Spec.ServiceAccountName}
	podutil.VisitPodSecretNames(pod, func(name string) bool { r.secrets[name] = true; return true })
	podutil.VisitPodConfigmapNames(pod, func(name string) bool { r.configMaps[name] = true; return true })
	for _, name := range volume.ClaimNames(pod) {
		r.claims[name] = true
	}
	return r, nil
}

// decide allows or has no opinion; the reason says what was missing.
func (n *nodes) decide(a authorizer.Attributes) (authorizer.Decision, string) {
	node, isNode := n.identifier.NodeIdentity(a.GetUser())
	switch {
	case !isNode:
		return authorizer.DecisionNoOpinion, ""
	case node == "":
		return no("unknown node for user %q", a.GetUser().GetName())
	case a.IsResourceRequest():
		switch (schema.GroupResource{Group: a.GetAPIGroup(), Resource: a.GetResource()}) {
		case schema.GroupResource{Resource: "secrets"}:
			return n.read(node, a, func(r *references) bool { return r.secrets[a.GetName()] })
		case schema.GroupResource{Resource: "configmaps"}:
			return n.read(node, a, func(r *references) bool { return r.configMaps[a.GetName()] })
		case schema.GroupResource{Resource: "serviceaccounts"}:
			return n.serviceAccount(node, a)
		case schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}:
			return lease(node, a)
		case schema.GroupResource{Resource: "nodes"}:
			return ownNode(node, a)
		case schema.GroupResource{Resource: "pods"}:
			return n.pod(node, a)
		case schema.GroupResource{Resource: "persistentvolumeclaims"}:
			return n.claim(node, a)
		case schema.GroupResource{Resource: "persistentvolumes"}:
			return n.volume(node, a)
		case schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceclaims"}, schema.GroupResource{Group: "storage.k8s.io", Resource: "volumeattachments"}:
			return no("no relationship found between node '%s' and this object", node)
		}
	}
	if rbac.RulesAllow(a, n.rules...) {
		return authorizer.DecisionAllow, ""
	}
	return authorizer.DecisionNoOpinion, ""
}

func no(format string, args ...any) (authorizer.Decision, string) {
	return authorizer.DecisionNoOpinion, fmt.Sprintf(format, args...)
}

// read allows reading one object that a pod on the node names.
func (n *nodes) read(node string, a authorizer.Attributes, names func(*references) bool) (authorizer.Decision, string) {
	switch a.GetVerb() {
	case "get", "list", "watch":
	default:
		return no("can only read resources of this type")
	}
	switch {
	case a.GetSubresource() != "":
		return no("cannot read subresource")
	case a.GetNamespace() == "":
		return no("can only read namespaced object of this type")
	case a.GetName() == "":
		return no("No Object name found")
	case !n.related(node, a.GetNamespace(), names):
		return no("no relationship found between node '%s' and this object", node)
	}
	return authorizer.DecisionAllow, ""
}

// related asks whether any pod of the namespace on the node has the relation.
func (n *nodes) related(node, ns string, names func(*references) bool) bool {
	found := false
	n.view(pods).Snapshot(pods).ByIndex(nodeIndex, node, func(e *statelog.Entry) bool {
		if e.Key().Namespace != ns {
			return true
		}
		if r, err := n.refs.of(e); err == nil && names(r) {
			found = true
		}
		return !found
	})
	return found
}

// claim allows reading by name a claim that a pod on the node names.
func (n *nodes) claim(node string, a authorizer.Attributes) (authorizer.Decision, string) {
	if decision, why := getOne(a); decision != authorizer.DecisionAllow {
		return decision, why
	}
	if a.GetNamespace() == "" || !n.related(node, a.GetNamespace(), func(r *references) bool { return r.claims[a.GetName()] }) {
		return no("no relationship found between node '%s' and this object", node)
	}
	return authorizer.DecisionAllow, ""
}

// volume allows reading by name a volume that is behind the claim of a pod on the node.
func (n *nodes) volume(node string, a authorizer.Attributes) (authorizer.Decision, string) {
	if decision, why := getOne(a); decision != authorizer.DecisionAllow {
		return decision, why
	}
	found := false
	n.view(pods).Snapshot(pods).ByIndex(nodeIndex, node, func(e *statelog.Entry) bool {
		r, err := n.refs.of(e)
		if err != nil {
			return true
		}
		for name := range r.claims {
			if claim := n.view(claims).Get(claims, e.Key().Namespace, name); claim != nil {
				if bound, err := n.bound.of(claim); err == nil && bound != "" && bound == a.GetName() {
					found = true
				}
			}
		}
		return !found
	})
	if !found {
		return no("no relationship found between node '%s' and this object", node)
	}
	return authorizer.DecisionAllow, ""
}

// getOne allows nothing but reading one object by name.
func getOne(a authorizer.Attributes) (authorizer.Decision, string) {
	switch {
	case a.GetVerb() != "get":
		return no("can only get individual resources of this type")
	case a.GetSubresource() != "":
		return no("cannot get subresource")
	case a.GetName() == "":
		return no("No Object name found")
	}
	return authorizer.DecisionAllow, ""
}

func (n *nodes) serviceAccount(node string, a authorizer.Attributes) (authorizer.Decision, string) {
	uses := func(r *references) bool { return r.serviceAccount == a.GetName() }
	switch {
	case a.GetVerb() == "get" && a.GetSubresource() == "":
		return n.read(node, a, uses)
	case a.GetVerb() != "create" || a.GetName() == "":
		return no("can only create tokens for individual service accounts")
	case a.GetSubresource() != "token":
		return no("can only create token subresource of serviceaccount")
	case !n.related(node, a.GetNamespace(), uses):
		return no("no relationship found between node '%s' and this object", node)
	}
	return authorizer.DecisionAllow, ""
}

func lease(node string, a authorizer.Attributes) (authorizer.Decision, string) {
	switch a.GetVerb() {
	case "get", "create", "update", "patch", "delete":
	default:
		return no("can only get, create, update, patch, or delete a node lease")
	}
	switch {
	case a.GetNamespace() != corev1.NamespaceNodeLease:
		return no("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	case a.GetVerb() != "create" && a.GetName() != node: // on create, admission checks the name
		return no("can only access node lease with the same name as the requesting node")
	}
	return authorizer.DecisionAllow, ""
}

// ownNode: which node is written is for the NodeRestriction admission to check.
func ownNode(node string, a authorizer.Attributes) (authorizer.Decision, string) {
	switch a.GetSubresource() + " " + a.GetVerb() {
	case " create", " update", " patch", "status update", "status patch":
		return authorizer.DecisionAllow, ""
	case " get", " list", " watch":
		switch a.GetName() {
		case node:
			return authorizer.DecisionAllow, ""
		case "":
			return no("node '%s' cannot read all nodes, only its own Node object", node)
		}
		return no("node '%s' cannot read '%s', only its own Node object", node, a.GetName())
	}
	return authorizer.DecisionNoOpinion, ""
}

func (n *nodes) pod(node string, a authorizer.Attributes) (authorizer.Decision, string) {
	switch a.GetSubresource() + " " + a.GetVerb() {
	case " create", " delete", "status update", "status patch", "eviction create":
		return authorizer.DecisionAllow, "" // admission checks that the pod is bound to the node
	case " list", " watch":
		requirements, err := a.GetFieldSelector()
		if err == nil {
			for _, r := range requirements {
				if r.Field == nodeIndex && r.Operator == selection.Equals && r.Value == node {
					return authorizer.DecisionAllow, ""
				}
			}
		}
		if a.GetName() == "" {
			return no("can only list/watch pods with spec.nodeName field selector")
		}
		return n.boundPod(node, a)
	case " get":
		return n.boundPod(node, a)
	}
	return authorizer.DecisionNoOpinion, ""
}

func (n *nodes) boundPod(node string, a authorizer.Attributes) (authorizer.Decision, string) {
	e := n.view(pods).Get(pods, a.GetNamespace(), a.GetName())
	if e != nil {
		found := false
		n.view(pods).Snapshot(pods).ByIndex(nodeIndex, node, func(on *statelog.Entry) bool {
			found = on.Key() == e.Key()
			return !found
		})
		if found {
			return authorizer.DecisionAllow, ""
		}
	}
	return no("no relationship found between node '%s' and this object", node)
}
