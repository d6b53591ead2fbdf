package mirror

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// trimPod leaves out what no controller decides by: how the containers run, and
// volumes that are no claim's. The containers' names, images, ports, resources, restart
// policies and what they report stay.
func trimPod(pod *corev1.Pod) {
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			c := &containers[i]
			*c = corev1.Container{
				Name: c.Name, Image: c.Image, Ports: c.Ports, Resources: c.Resources, ResizePolicy: c.ResizePolicy,
				RestartPolicy: c.RestartPolicy, RestartPolicyRules: c.RestartPolicyRules,
			}
		}
	}
	pod.Spec.Volumes = slices.DeleteFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
		return v.PersistentVolumeClaim == nil && v.Ephemeral == nil
	})
	if len(pod.Spec.Volumes) == 0 {
		pod.Spec.Volumes = nil // the room too
	}
	pod.Spec.EphemeralContainers = nil
	pod.Status.EphemeralContainerStatuses = nil
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range statuses {
			s := &statuses[i]
			s.Image, s.ImageID, s.ContainerID, s.VolumeMounts, s.User = "", "", "", nil, nil
		}
	}
}

// trimSecret keeps what is in Secrets that are tokens, and forgets everybody's else.
func trimSecret(secret *corev1.Secret) {
	switch secret.Type {
	case corev1.SecretTypeServiceAccountToken, corev1.SecretTypeBootstrapToken:
	default:
		secret.Data = nil
	}
}
