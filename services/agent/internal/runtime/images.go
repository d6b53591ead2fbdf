package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"kubus.dev/services/agent/internal/image"
)

// ResolveImage implements Runtime.
func (n *Node) ResolveImage(ref string) (*Image, bool) {
	img, ok := n.images.Resolve(ref)
	if !ok {
		return nil, false
	}
	out := toImage(img)
	return &out, true
}

// PullImage implements Runtime.
func (n *Node) PullImage(ctx context.Context, ref string, creds []Credential, progress func(string)) (*Image, error) {
	r, err := image.ParseReference(ref)
	if err != nil {
		return nil, &InvalidImageError{Ref: ref, Err: err}
	}
	logins := make([]image.Credential, len(creds))
	for i, c := range creds {
		logins[i] = image.Credential{Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken}
	}
	result, err := n.images.Pull(ctx, r, logins, progress)
	if err != nil {
		return nil, &PullError{Ref: r.String(), Endpoints: result.Endpoints, Err: err}
	}
	out := toImage(result.Image)
	return &out, nil
}

// Images implements Runtime.
func (n *Node) Images() []Image {
	var list []Image
	for _, img := range n.images.List() {
		list = append(list, toImage(img))
	}
	return list
}

// RemoveImage implements Runtime.
func (n *Node) RemoveImage(_ context.Context, ref string) error {
	img, ok := n.images.Resolve(ref)
	if !ok {
		return fmt.Errorf("image %s: %w", ref, ErrNotFound)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.containers {
		if c.record.ImageID == img.ID {
			return fmt.Errorf("image %s is used by container %s: %w", ref, c.record.ID, ErrImageInUse)
		}
	}
	if err := n.images.Remove(ref); err != nil && !errors.Is(err, image.ErrNotFound) {
		return err
	}
	return nil
}

func toImage(img *image.Image) Image {
	return Image{ID: img.ID, RepoTags: img.Tags, RepoDigests: img.Digests, Size: img.Size, Config: ImageConfig{
		Env: img.Config.Env, Entrypoint: img.Config.Entrypoint, Cmd: img.Config.Cmd, User: img.Config.User,
		WorkingDir: img.Config.WorkingDir, StopSignal: img.Config.StopSignal, Labels: img.Config.Labels,
		ExposedPort: slices.Sorted(maps.Keys(img.Config.ExposedPorts)), Volumes: slices.Sorted(maps.Keys(img.Config.Volumes)),
	}}
}
