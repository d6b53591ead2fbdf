package downward

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestField(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns", UID: "u",
			Labels:      map[string]string{"b": "2", "a": "one\n\"two\"", "example.com/k": "v"},
			Annotations: map[string]string{"Example.com/K": "note"}},
		Spec: corev1.PodSpec{NodeName: "n", ServiceAccountName: "sa"},
	}
	addresses := Addresses{PodIPs: []string{"10.0.0.2", "fd00::2"}, HostIPs: []string{"192.0.2.1", "fd00::1"}}
	tests := []struct{ name, path, want, wrong string }{
		{"the pod's name", "metadata.name", "p", ""},
		{"its namespace", "metadata.namespace", "ns", ""},
		{"its uid", "metadata.uid", "u", ""},
		{"its node", "spec.nodeName", "n", ""},
		{"its account", "spec.serviceAccountName", "sa", ""},
		{"the first address", "status.podIP", "10.0.0.2", ""},
		{"all addresses", "status.podIPs", "10.0.0.2,fd00::2", ""},
		{"the node's first address", "status.hostIP", "192.0.2.1", ""},
		{"all of the node's", "status.hostIPs", "192.0.2.1,fd00::1", ""},
		{"labels are sorted and quoted, a line each", "metadata.labels", "a=\"one\\n\\\"two\\\"\"\nb=\"2\"\nexample.com/k=\"v\"", ""},
		{"one label as it is", "metadata.labels['a']", "one\n\"two\"", ""},
		{"a label with a prefix", "metadata.labels['example.com/k']", "v", ""},
		{"an absent label is empty", "metadata.labels['none']", "", ""},
		{"an annotation's key may have capitals", "metadata.annotations['Example.com/K']", "note", ""},
		{"a key that no label can have", "metadata.labels['a b']", "", "invalid key subscript in metadata.labels['a b']"},
		{"a field without keys", "metadata.name['a']", "", `fieldPath "metadata.name['a']" does not support subscript`},
		{"a field that pods may not know", "spec.containers", "", "unsupported fieldPath: spec.containers"},
		{"a subscript that does not end", "metadata.labels['a", "", "unsupported fieldPath"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Field(pod, &corev1.ObjectFieldSelector{FieldPath: tt.path}, addresses)
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wrong) {
					t.Errorf("%s: got %q, %v; want the error %q", tt.path, got, err, tt.wrong)
				}
			} else if err != nil || got != tt.want {
				t.Errorf("%s: got %q, %v; want %q", tt.path, got, err, tt.want)
			}
		})
	}
	if got, err := Field(pod, &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}, Addresses{}); got != "" || err != nil {
		t.Errorf("before there is an address: %q, %v", got, err)
	}
	if _, err := Field(pod, &corev1.ObjectFieldSelector{APIVersion: "v2", FieldPath: "metadata.name"}, addresses); err == nil {
		t.Error("another version of the API is accepted")
	}
}
