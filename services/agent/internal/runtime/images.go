package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"kubus.dev/services/agent/internal/image"
	"kubus.dev/services/agent/internal/tree"
)

// ResolveImage implements Runtime.
func (n *Node) ResolveImage(ref string) (*Image, bool) {
	img, ok := n.images.Resolve(ref)
	if !ok {
		return nil, false
	}
	n.images.Touch(img.ID)
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

// ImportImages takes the images of an archive, as image.Store's Import.
func (n *Node) ImportImages(ctx context.Context, archive io.Reader, as string, progress func(string)) ([]string, error) {
	return n.images.Import(ctx, archive, as, progress)
}

// MountImage implements Runtime.
func (n *Node) MountImage(ref, dir string) error {
	img, release, ok := n.images.Hold(ref)
	if !ok {
		return fmt.Errorf("image %s: %w", ref, ErrNotFound)
	}
	defer release()
	if mounted, err := tree.IsMount(dir); err != nil || mounted {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("mounting image %s: %w", ref, err)
	}
	if err := mountReadOnly(n.images.Lowers(img), dir); err != nil {
		return fmt.Errorf("mounting image %s: %w", ref, err)
	}
	return nil
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
	return n.RemoveUnusedImage(ref, time.Now())
}

// RemoveUnusedImage removes an image, unless a container was made from it or somebody has asked for it since then:
// ErrImageInUse.
func (n *Node) RemoveUnusedImage(ref string, since time.Time) error {
	img, ok := n.images.Resolve(ref)
	if !ok {
		return fmt.Errorf("image %s: %w", ref, ErrNotFound)
	}
	// One that becomes a container now is held until that is among the containers, and was used when it is let go.
	if id := n.userOf(img.ID); id != "" {
		return fmt.Errorf("image %s is used by container %s: %w", ref, id, ErrImageInUse)
	}
	switch err := n.images.Remove(ref, since); {
	case errors.Is(err, image.ErrInUse):
		return fmt.Errorf("image %s: %w", ref, ErrImageInUse)
	case err != nil && !errors.Is(err, image.ErrNotFound):
		return fmt.Errorf("removing image %s: %w", ref, err)
	}
	return nil
}

// userOf is a container made from an image, or "".
func (n *Node) userOf(imageID string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, c := range n.containers {
		if c.record.ImageID == imageID {
			return id
		}
	}
	return ""
}

// ImageUse tells how an image is used.
type ImageUse struct {
	image.Use
	InUse bool // by a container, running or not, or by somebody who is about to make one
}

// ImageUses tells how all images are used. What is in use counts as used now; named are references of images that
// are as good as in use.
func (n *Node) ImageUses(named []string) ([]ImageUse, error) {
	busy := map[string]bool{}
	n.mu.Lock()
	for _, c := range n.containers {
		busy[c.record.ImageID] = true
	}
	n.mu.Unlock()
	for _, ref := range named {
		if img, ok := n.images.Resolve(ref); ok {
			busy[img.ID] = true
		}
	}
	for id := range busy {
		n.images.Touch(id)
	}
	all, err := n.images.Uses()
	if err != nil {
		return nil, fmt.Errorf("looking at the images: %w", err)
	}
	uses := make([]ImageUse, len(all))
	for i, u := range all {
		uses[i] = ImageUse{Use: u, InUse: u.Held || busy[u.ID]}
	}
	return uses, nil
}

// SweepLayers removes layers that no image needs, as failed pulls leave them.
func (n *Node) SweepLayers() error { return n.images.Sweep() }

// ImageDisk is the size of the file system that images are on, and what is free of it.
func (n *Node) ImageDisk() (capacity, available int64, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(n.opts.agentDir(), &fs); err != nil {
		return 0, 0, fmt.Errorf("asking for the images' file system: %w", err)
	}
	return int64(fs.Blocks) * fs.Bsize, int64(fs.Bavail) * fs.Bsize, nil
}

// WrittenBy is the folder with what a container has written to its root file system.
func (n *Node) WrittenBy(id string) string { return filepath.Join(n.opts.upperDir(), id) }

func toImage(img *image.Image) Image {
	return Image{ID: img.ID, RepoTags: img.Tags, RepoDigests: img.Digests, Size: img.Size, Config: ImageConfig{
		Env: img.Config.Env, Entrypoint: img.Config.Entrypoint, Cmd: img.Config.Cmd, User: img.Config.User,
		WorkingDir: img.Config.WorkingDir, StopSignal: img.Config.StopSignal, Labels: img.Config.Labels,
		ExposedPort: slices.Sorted(maps.Keys(img.Config.ExposedPorts)), Volumes: slices.Sorted(maps.Keys(img.Config.Volumes)),
	}}
}
