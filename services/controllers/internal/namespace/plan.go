package namespace

import (
	"fmt"
	"sort"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// remains is what a namespace still holds.
type remains struct {
	Resources  map[schema.GroupResource]int
	Finalizers map[string]int // objects that wait for each finalizer
	Errors     []error        // deletions that failed
	Discovery  error          // kinds that could not be found out
}

func newRemains() remains {
	return remains{Resources: map[schema.GroupResource]int{}, Finalizers: map[string]int{}}
}

// okay is each condition's form when nothing is wrong, in the order they are shown.
var okay = []corev1.NamespaceCondition{
	{Type: corev1.NamespaceDeletionDiscoveryFailure, Reason: "ResourcesDiscovered", Message: "All resources successfully discovered"},
	{Type: corev1.NamespaceDeletionGVParsingFailure, Reason: "ParsedGroupVersions", Message: "All legacy kube types successfully parsed"},
	{Type: corev1.NamespaceDeletionContentFailure, Reason: "ContentDeleted", Message: "All content successfully deleted, may be waiting on finalization"},
	{Type: corev1.NamespaceContentRemaining, Reason: "ContentRemoved", Message: "All content successfully removed"},
	{Type: corev1.NamespaceFinalizersRemaining, Reason: "ContentHasNoFinalizers", Message: "All content-preserving finalizers finished"},
}

// conditions is a namespace's conditions given what remains; changed is false when
// they say it already.
func conditions(present []corev1.NamespaceCondition, r remains, now time.Time) (next []corev1.NamespaceCondition, changed bool) {
	next = append(next, present...)
	for _, ok := range okay {
		condition := ok
		condition.Status, condition.LastTransitionTime = corev1.ConditionFalse, metav1.NewTime(now)
		if reason, message := r.complaint(ok.Type); reason != "" {
			condition.Status, condition.Reason, condition.Message = corev1.ConditionTrue, reason, message
		}
		i := indexOf(next, ok.Type)
		switch {
		case i < 0:
			next = append(next, condition)
		case next[i].Status == condition.Status && next[i].Reason == condition.Reason && next[i].Message == condition.Message:
			continue
		default:
			if next[i].Status == condition.Status {
				condition.LastTransitionTime = next[i].LastTransitionTime
			}
			next[i] = condition
		}
		changed = true
	}
	return next, changed
}

func indexOf(all []corev1.NamespaceCondition, of corev1.NamespaceConditionType) int {
	for i := range all {
		if all[i].Type == of {
			return i
		}
	}
	return -1
}

// complaint is the reason and message of a condition that is true; empty if it is not.
func (r remains) complaint(of corev1.NamespaceConditionType) (reason, message string) {
	switch {
	case of == corev1.NamespaceDeletionDiscoveryFailure && r.Discovery != nil:
		return "DiscoveryFailed", r.Discovery.Error()
	case of == corev1.NamespaceDeletionContentFailure && len(r.Errors) > 0:
		texts := make([]string, len(r.Errors))
		for i, err := range r.Errors {
			texts[i] = err.Error()
		}
		sort.Strings(texts)
		return "ContentDeletionFailed", fmt.Sprintf("Failed to delete all resource types, %d remaining: %s", len(texts), strings.Join(texts, ", "))
	case of == corev1.NamespaceContentRemaining && len(r.Resources) > 0:
		var texts []string
		for gr, count := range r.Resources {
			texts = append(texts, fmt.Sprintf("%s.%s has %d resource instances", gr.Resource, gr.Group, count))
		}
		sort.Strings(texts)
		return "SomeResourcesRemain", "Some resources are remaining: " + strings.Join(texts, ", ")
	case of == corev1.NamespaceFinalizersRemaining && len(r.Finalizers) > 0:
		var texts []string
		for finalizer, count := range r.Finalizers {
			texts = append(texts, fmt.Sprintf("%s in %d resource instances", finalizer, count))
		}
		sort.Strings(texts)
		return "SomeFinalizersRemain", "Some content in the namespace has finalizers remaining: " + strings.Join(texts, ", ")
	}
	return "", ""
}

// withoutOurs is the namespace's finalizers but the one this controller is asked by.
func withoutOurs(finalizers []corev1.FinalizerName) []corev1.FinalizerName {
	rest := []corev1.FinalizerName{}
	for _, finalizer := range finalizers {
		if finalizer != corev1.FinalizerKubernetes {
			rest = append(rest, finalizer)
		}
	}
	return rest
}

// outlives is true of a namespace that somebody else's finalizers keep when it is empty:
// what it said of its content while it went must not stay.
func outlives(ns *corev1.Namespace) bool {
	return len(ns.Status.Conditions) > 0 && len(ns.Finalizers)+len(withoutOurs(ns.Spec.Finalizers)) > 0
}
