package static

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Annotations of static pods and their mirrors.
const (
	SourceAnnotation = "kubernetes.io/config.source" // "file"
	HashAnnotation   = "kubernetes.io/config.hash"   // the uid that the node knows the pod by
	SeenAnnotation   = "kubernetes.io/config.seen"   // when the node first did
	MirrorAnnotation = corev1.MirrorPodAnnotationKey // the same, of the mirror alone
)

const fromFile = "file"

// Is tells whether a pod is static.
func Is(pod *corev1.Pod) bool { return pod.Annotations[SourceAnnotation] == fromFile && !IsMirror(pod) }

// IsMirror tells whether a pod of the API stands for a static one.
func IsMirror(pod *corev1.Pod) bool {
	_, ok := pod.Annotations[MirrorAnnotation]
	return ok
}

// FromAPI gives a pod of the API as what it is: nobody makes it a static one by an annotation.
func FromAPI(pod *corev1.Pod) *corev1.Pod {
	if pod.Annotations[SourceAnnotation] == "" {
		return pod
	}
	pod = pod.DeepCopy()
	pod.Annotations[SourceAnnotation] = "api"
	return pod
}

// Parse gives the pod that a file describes, as the node runs it: named, defaulted and bound.
func Parse(data []byte, path, node string) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	if err := yaml.Unmarshal(data, pod); err != nil {
		return nil, fmt.Errorf("couldn't parse as pod: %w", err)
	}
	if pod.APIVersion != "v1" || pod.Kind != "Pod" {
		return nil, fmt.Errorf("couldn't parse as pod: it is a %q of %q", pod.Kind, pod.APIVersion)
	}
	pod.Status = corev1.PodStatus{}
	if pod.UID == "" {
		said, err := json.Marshal(pod)
		if err != nil {
			return nil, fmt.Errorf("couldn't parse as pod: %w", err)
		}
		h := fnv.New128a()
		_, _ = h.Write(said) // never fails
		_, _ = fmt.Fprintf(h, "host:%sfile:%s", node, path)
		pod.UID = types.UID(hex.EncodeToString(h.Sum(nil)))
	}
	if err := check(pod); err != nil {
		return nil, fmt.Errorf("invalid pod: %w", err)
	}
	pod.Name += "-" + strings.ToLower(node)
	if pod.Namespace == "" {
		pod.Namespace = metav1.NamespaceDefault
	}
	pod.Generation = 1
	pod.Spec.NodeName = node
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	delete(pod.Annotations, MirrorAnnotation)
	pod.Annotations[SourceAnnotation], pod.Annotations[HashAnnotation] = fromFile, string(pod.UID)
	pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute})
	pod.Status.Phase = corev1.PodPending
	setDefaults(&pod.Spec)
	return pod, nil
}

// check refuses what cannot run: the rest of the API's rules is checked where the mirror is made.
func check(pod *corev1.Pod) error {
	if pod.Name == "" {
		return errors.New("name is needed for the pod")
	}
	if msgs := validation.IsDNS1123Subdomain(pod.Name); len(msgs) > 0 {
		return fmt.Errorf("metadata.name: %q: %s", pod.Name, strings.Join(msgs, ", "))
	}
	if msgs := validation.IsDNS1123Label(pod.Namespace); pod.Namespace != "" && len(msgs) > 0 {
		return fmt.Errorf("metadata.namespace: %q: %s", pod.Namespace, strings.Join(msgs, ", "))
	}
	if strings.ContainsAny(string(pod.UID), "/.") || len(pod.UID) > 63 { // it names folders
		return fmt.Errorf("metadata.uid: %q", pod.UID)
	}
	if len(pod.Spec.Containers) == 0 {
		return errors.New("spec.containers: at least one is needed")
	}
	known := map[string]bool{}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if msgs := validation.IsDNS1123Label(c.Name); len(msgs) > 0 {
			return fmt.Errorf("spec.containers: name %q: %s", c.Name, strings.Join(msgs, ", "))
		}
		if known[c.Name] {
			return fmt.Errorf("spec.containers: name %q is there twice", c.Name)
		}
		known[c.Name] = true
		if c.Image == "" {
			return fmt.Errorf("spec.containers: %q has no image", c.Name)
		}
	}
	for i := range pod.Spec.Volumes {
		if msgs := validation.IsDNS1123Label(pod.Spec.Volumes[i].Name); len(msgs) > 0 {
			return fmt.Errorf("spec.volumes: name %q: %s", pod.Spec.Volumes[i].Name, strings.Join(msgs, ", "))
		}
	}
	if what := references(&pod.Spec); what != "" {
		return fmt.Errorf("static pods may not reference %s", what)
	}
	return nil
}

// references names what of the API a pod needs, which a static one may not; "" for none.
func references(spec *corev1.PodSpec) string {
	switch {
	case spec.ServiceAccountName != "" || spec.DeprecatedServiceAccount != "":
		return "serviceaccounts"
	case len(spec.ImagePullSecrets) > 0:
		return "secrets"
	case len(spec.ResourceClaims) > 0:
		return "resourceclaims"
	case len(spec.EphemeralContainers) > 0:
		return "ephemeralcontainers"
	}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		for _, from := range c.EnvFrom {
			if from.SecretRef != nil {
				return "secrets"
			}
			if from.ConfigMapRef != nil {
				return "configmaps"
			}
		}
		for _, env := range c.Env {
			if env.ValueFrom != nil && env.ValueFrom.SecretKeyRef != nil {
				return "secrets"
			}
			if env.ValueFrom != nil && env.ValueFrom.ConfigMapKeyRef != nil {
				return "configmaps"
			}
		}
	}
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		switch {
		case v.EmptyDir != nil, v.HostPath != nil, v.DownwardAPI != nil, v.Image != nil, v.VolumeSource == corev1.VolumeSource{}:
		case v.Projected != nil && !slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool { return s.DownwardAPI == nil }):
		default:
			return fmt.Sprintf("the API in volume %q", v.Name)
		}
	}
	return ""
}
