package resourceclaim

import (
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	dra "k8s.io/dynamic-resource-allocation/resourceclaim"
)

// longest is what a claim's name may have before the five random characters.
const longest = 57

// order is a claim that is to be made for a pod.
type order struct {
	For   string // the pod's name of it
	Claim *resourcev1.ResourceClaim
}

// podPlan is what a pod needs.
type podPlan struct {
	Make   []order
	Found  map[string]string // claims that were made and that the status does not name: by the pod's name of it
	Failed map[string]error  // what cannot be made: by the pod's name of it
}

// planPod goes through the claims of a pod. claims are those of its namespace.
func planPod(pod *corev1.Pod, claims func() []*resourcev1.ResourceClaim, template func(name string) *resourcev1.ResourceClaimTemplate) podPlan {
	plan := podPlan{Found: map[string]string{}, Failed: map[string]error{}}
	for i := range pod.Spec.ResourceClaims {
		asked := &pod.Spec.ResourceClaims[i]
		there, err := present(pod, asked, claims)
		if err != nil {
			plan.Failed[asked.Name] = fmt.Errorf("checking for claim before creating it: %w", err)
			continue
		}
		if there || asked.ResourceClaimTemplateName == nil {
			continue
		}
		if orphan := madeFor(pod, asked.Name, claims()); orphan != nil {
			plan.Found[asked.Name] = orphan.Name
			continue
		}
		from := template(*asked.ResourceClaimTemplateName)
		if from == nil {
			plan.Failed[asked.Name] = fmt.Errorf("resource claim template %q: resourceclaimtemplate.resource.k8s.io %q not found", *asked.ResourceClaimTemplateName, *asked.ResourceClaimTemplateName)
			continue
		}
		plan.Make = append(plan.Make, order{asked.Name, fromTemplate(pod, asked.Name, from)})
	}
	return plan
}

// present is true when the claim that a pod's status names is there and is the pod's,
// or when it has been found that none is needed.
func present(pod *corev1.Pod, asked *corev1.PodResourceClaim, claims func() []*resourcev1.ResourceClaim) (bool, error) {
	name, owned, err := dra.Name(pod, asked)
	switch {
	case errors.Is(err, dra.ErrClaimNotFound):
		return false, nil
	case err != nil:
		return false, err
	case name == nil:
		return true, nil
	}
	for _, claim := range claims() {
		if claim.Name == *name {
			return !owned || dra.IsForPod(pod, claim, false) == nil, nil
		}
	}
	return false, nil
}

// madeFor finds a claim that was made for a pod before its status could say so.
func madeFor(pod *corev1.Pod, name string, claims []*resourcev1.ResourceClaim) *resourcev1.ResourceClaim {
	for _, claim := range claims {
		if metav1.IsControlledBy(claim, pod) && claim.Annotations[resourcev1.PodResourceClaimAnnotation] == name && name != "" {
			return claim
		}
	}
	return nil
}

func fromTemplate(pod *corev1.Pod, name string, from *resourcev1.ResourceClaimTemplate) *resourcev1.ResourceClaim {
	yes := true
	annotations := maps.Clone(from.Spec.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[resourcev1.PodResourceClaimAnnotation] = name
	return &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, GenerateName: generateName(pod.Name, name), Annotations: annotations, Labels: maps.Clone(from.Spec.Labels),
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID, Controller: &yes}},
		},
		Spec: *from.Spec.Spec.DeepCopy(),
	}
}

// generateName shortens both names alike where they are too long together.
func generateName(pod, claim string) string {
	name := pod + "-" + claim + "-"
	if n := len(name); n > longest {
		name = pod[:len(pod)*longest/n] + "-" + claim[:len(claim)*longest/n]
	}
	return name
}

// unreserved are the allocated claims of a pod on its node that are not reserved for
// it: the scheduler was passed by. An error says that a claim is another pod's.
func unreserved(pod *corev1.Pod, claim func(name string) *resourcev1.ResourceClaim) (all []*resourcev1.ResourceClaim, err error) {
	if pod.Spec.NodeName == "" {
		return nil, nil
	}
	for i := range pod.Spec.ResourceClaims {
		name, owned, err := dra.Name(pod, &pod.Spec.ResourceClaims[i])
		if err != nil {
			return nil, err
		}
		if name == nil {
			continue
		}
		c := claim(*name)
		if c == nil {
			return nil, nil
		}
		if owned {
			if err := dra.IsForPod(pod, c, false); err != nil {
				return nil, err
			}
		}
		if c.Status.Allocation != nil && !dra.IsReservedForPod(pod, c, false) && dra.CanBeReserved(c) {
			all = append(all, c)
		}
	}
	return all, nil
}
