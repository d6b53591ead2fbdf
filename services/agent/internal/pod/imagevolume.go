package pod

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/agent/internal/volume"
)

// imageVolume is the image that a volume shows, if it is such a volume.
func imageVolume(pod *corev1.Pod, name string) *corev1.ImageVolumeSource {
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; v.Name == name {
			return v.Image
		}
	}
	return nil
}

// volumeImages makes sure that the images are there whose files the container is shown.
// They are pulled with the pod's secrets and told of as the container's own.
func (a *attempt) volumeImages(ctx context.Context) error {
	for i := range a.spec.VolumeMounts {
		source := imageVolume(a.pod, a.spec.VolumeMounts[i].Name)
		if source == nil {
			continue
		}
		if _, _, err := a.ensure(ctx, source.Reference, source.PullPolicy); err != nil {
			return err
		}
	}
	return nil
}

// mountImages puts those files in place. What is mounted stays, whatever the image's name
// means later: all containers of the pod see the same.
func (a *attempt) mountImages(mounted *volume.Mounted) error {
	for i := range a.spec.VolumeMounts {
		name := a.spec.VolumeMounts[i].Name
		source := imageVolume(a.pod, name)
		if source == nil {
			continue
		}
		dir, ok := mounted.Paths[name]
		if !ok {
			return fmt.Errorf("cannot find volume %q to mount into container %q", name, a.spec.Name)
		}
		if source.Reference == "" {
			return errors.New("image volume without a reference")
		}
		if err := a.d.Runtime.MountImage(source.Reference, dir); err != nil {
			return fmt.Errorf("failed to mount image volume %q: %w", name, err)
		}
	}
	return nil
}
