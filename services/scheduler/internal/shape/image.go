package shape

import (
	"slices"
	"strings"
	"unique"

	corev1 "k8s.io/api/core/v1"
)

// Image is a container image that a node has.
type Image struct {
	Name unique.Handle[string]
	Size int64 // bytes
}

// ImagesOf reads what a node says that it has, each image under all its names; of two with one
// name the last counts.
func ImagesOf(list []corev1.ContainerImage) []Image {
	var out []Image
	for i := range list {
		for _, name := range list[i].Names {
			image := Image{unique.Make(name), list[i].SizeBytes}
			if at := slices.IndexFunc(out, func(o Image) bool { return o.Name == image.Name }); at >= 0 {
				out[at] = image
			} else {
				out = append(out, image)
			}
		}
	}
	return out
}

// imagesOf are the images that a pod needs, one for each container and image volume.
func imagesOf(spec *corev1.PodSpec) []unique.Handle[string] {
	var out []unique.Handle[string]
	for i := range spec.InitContainers {
		out = append(out, imageName(spec.InitContainers[i].Image))
	}
	for i := range spec.Containers {
		out = append(out, imageName(spec.Containers[i].Image))
	}
	for i := range spec.Volumes {
		if image := spec.Volumes[i].Image; image != nil {
			out = append(out, imageName(image.Reference))
		}
	}
	return out
}

// imageName follows upstream's normalizedImageName: without a tag it is the latest.
func imageName(name string) unique.Handle[string] {
	if strings.LastIndex(name, ":") <= strings.LastIndex(name, "/") {
		name += ":latest"
	}
	return unique.Make(name)
}
