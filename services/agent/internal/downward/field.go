// Package downward reads from a pod what its containers may know of it: fields
// and resources, as environment variables and volume files show them.
//
// Start with Field and Resource. Both are pure; the wording of errors is
// Kubernetes' (pkg/fieldpath, pkg/api/v1/resource).
package downward

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Addresses are what only the node knows of a pod.
type Addresses struct {
	PodIPs  []string // primary first; empty before the sandbox exists
	HostIPs []string // primary first
}

// Field is the value of a fieldRef. Addresses may be empty for volume files,
// where Kubernetes does not allow status fields.
func Field(pod *corev1.Pod, ref *corev1.ObjectFieldSelector, a Addresses) (string, error) {
	if ref.APIVersion != "" && ref.APIVersion != "v1" {
		return "", fmt.Errorf("unsupported pod version: %s", ref.APIVersion)
	}
	path := ref.FieldPath
	if base, key, ok := splitSubscript(path); ok {
		return subscript(pod, path, base, key)
	}
	switch path {
	case "metadata.annotations":
		return FormatMap(pod.Annotations), nil
	case "metadata.labels":
		return FormatMap(pod.Labels), nil
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "spec.nodeName", "spec.host":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return first(a.HostIPs), nil
	case "status.hostIPs":
		return strings.Join(a.HostIPs, ","), nil
	case "status.podIP":
		return first(a.PodIPs), nil
	case "status.podIPs":
		return strings.Join(a.PodIPs, ","), nil
	}
	return "", fmt.Errorf("unsupported fieldPath: %v", path)
}

func subscript(pod *corev1.Pod, path, base, key string) (string, error) {
	switch base {
	case "metadata.annotations":
		if errs := validation.IsQualifiedName(strings.ToLower(key)); len(errs) != 0 {
			return "", fmt.Errorf("invalid key subscript in %s: %s", path, strings.Join(errs, ";"))
		}
		return pod.Annotations[key], nil
	case "metadata.labels":
		if errs := validation.IsQualifiedName(key); len(errs) != 0 {
			return "", fmt.Errorf("invalid key subscript in %s: %s", path, strings.Join(errs, ";"))
		}
		return pod.Labels[key], nil
	}
	return "", fmt.Errorf("fieldPath %q does not support subscript", path)
}

// splitSubscript cuts metadata.labels['key'] in two.
func splitSubscript(path string) (base, key string, ok bool) {
	s, found := strings.CutSuffix(path, "']")
	if !found {
		return path, "", false
	}
	base, key, ok = strings.Cut(s, "['")
	if !ok || base == "" {
		return path, "", false
	}
	return base, key, true
}

// FormatMap writes key="value" lines, sorted by key, without a final newline.
func FormatMap(m map[string]string) string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var out []byte
	for _, k := range keys {
		if len(out) > 0 {
			out = append(out, '\n')
		}
		out = append(out, k...)
		out = append(out, '=')
		out = strconv.AppendQuote(out, m[k])
	}
	return string(out)
}

func first(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}
