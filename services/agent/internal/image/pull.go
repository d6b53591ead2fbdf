package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"

	"kubus.dev/services/agent/internal/layer"
	"kubus.dev/services/agent/internal/registry"
	"kubus.dev/services/agent/internal/tree"
)

// parallelLayers bounds the layers of one image that are fetched at once, as upstream's runtimes do.
const parallelLayers = 3

// What is read into memory of an image must be small: whoever makes pods names the registry that sends it.
const (
	maxConfigBytes = 8 << 20
	maxLayers      = 256
)

// Credential logs in to a registry; see authn.AuthConfig.
type Credential = authn.AuthConfig

// PullResult tells what a pull did.
type PullResult struct {
	Image     *Image
	Endpoints []string // URLs that were asked, without duplicates, also when the pull failed
}

// Pull fetches a reference for this machine's platform, from the first endpoint of its registry that has it.
// Credentials are shown to the registry itself only, in order, then those of the node's settings, then none.
func (s *Store) Pull(ctx context.Context, ref Reference, creds []Credential, progress func(string)) (PullResult, error) {
	if progress == nil {
		progress = func(string) {}
	}
	result := PullResult{}
	endpoints, err := s.opts.Registries.Endpoints(ref.ref.Context().RegistryStr())
	if err != nil {
		return result, fmt.Errorf("failed to pull %q: %w", ref, err)
	}
	at := asking{ref: ref}
	var mirrors []string // what became of them
	// ask asks the endpoints that may be asked, in order, until one has answered.
	ask := func(may func(*registry.Endpoint) bool, do func(*asking) error) error {
		err := fmt.Errorf("no endpoint of the registry of %q may be asked", ref)
		for i := range endpoints {
			if !may(&endpoints[i]) {
				continue
			}
			one := at
			one.endpoint, one.transport = &endpoints[i], newTransport(&endpoints[i], ref.ref.Context().RegistryStr(), s.opts.Insecure)
			err = one.as(creds, do)
			one.transport.base.CloseIdleConnections()
			for _, url := range one.transport.endpoints() {
				if !slices.Contains(result.Endpoints, url) {
					result.Endpoints = append(result.Endpoints, url)
				}
			}
			if err == nil || ctx.Err() != nil {
				return err
			}
			if endpoints[i].Mirror {
				mirrors = append(mirrors, fmt.Sprintf("%s: %v", endpoints[i].Host, err))
			}
		}
		return err
	}
	unresolved := func(e registry.Endpoint) bool { return e.Pull && !e.Resolve }
	if ref.Digest() == "" && slices.ContainsFunc(endpoints, unresolved) { // which is asked by digest
		err = ask(func(e *registry.Endpoint) bool { return e.Resolve }, func(a *asking) (err error) {
			at.digest, err = s.resolveTag(ctx, a)
			return err
		})
	}
	if err == nil {
		err = ask(func(e *registry.Endpoint) bool { return e.Pull }, func(a *asking) (err error) {
			result.Image, err = s.pull(ctx, a, progress)
			return err
		})
	}
	if err != nil && len(mirrors) > 0 && ctx.Err() == nil {
		err = fmt.Errorf("%w (of mirrors: %s)", err, strings.Join(mirrors, "; "))
	}
	return result, err
}

func authenticators(e *registry.Endpoint, creds []Credential) []authn.Authenticator {
	var list []authn.Authenticator
	for _, c := range creds {
		list = append(list, authn.FromConfig(c))
	}
	if e.Auth != nil {
		list = append(list, authn.FromConfig(*e.Auth))
	}
	return append(list, authn.Anonymous)
}

func unauthorized(err error) bool {
	var t *transport.Error
	return errors.As(err, &t) && (t.StatusCode == http.StatusUnauthorized || t.StatusCode == http.StatusForbidden)
}

func (s *Store) pull(ctx context.Context, a *asking, progress func(string)) (*Image, error) {
	ref := a.ref
	target, err := a.target(s.opts.Insecure)
	if err != nil {
		return nil, err
	}
	desc, err := remote.Get(target, a.options(ctx)...)
	if err != nil {
		return nil, fmt.Errorf("failed to resolve reference %q: %w", ref, resolveError(ref, err))
	}
	remoteImage, err := desc.Image()
	if err != nil {
		return nil, fmt.Errorf("no image for linux/%s in %q: %w", runtime.GOARCH, ref, err)
	}
	return s.take(ctx, remoteImage, ref, desc.Digest.String(), progress)
}

// take puts an image into the store, under a name. Digest is that of the manifest or index that the name stands for;
// it may be empty.
func (s *Store) take(ctx context.Context, remoteImage v1.Image, ref Reference, digest string, progress func(string)) (*Image, error) {
	manifest, err := remoteImage.Manifest()
	if err != nil {
		return nil, fmt.Errorf("failed to read the manifest of %q: %w", ref, err)
	}
	if manifest.Config.Size > maxConfigBytes || len(manifest.Layers) > maxLayers {
		return nil, fmt.Errorf("the image %q has a config of %d bytes and %d layers, more than the %d bytes and %d layers that are allowed",
			ref, manifest.Config.Size, len(manifest.Layers), maxConfigBytes, maxLayers)
	}
	config, err := remoteImage.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("failed to fetch the config of %q: %w", ref, err)
	}
	if config.OS != "" && config.OS != "linux" || config.Architecture != "" && config.Architecture != runtime.GOARCH {
		return nil, fmt.Errorf("no match for platform in manifest: the image is for %s/%s, this node is linux/%s",
			config.OS, config.Architecture, runtime.GOARCH)
	}
	id, err := remoteImage.ConfigName()
	if err != nil {
		return nil, err
	}
	layers, err := remoteImage.Layers()
	if err != nil {
		return nil, fmt.Errorf("failed to read the layers of %q: %w", ref, err)
	}
	if len(layers) != len(config.RootFS.DiffIDs) {
		return nil, fmt.Errorf("the manifest of %q has %d layers and its config %d", ref, len(layers), len(config.RootFS.DiffIDs))
	}
	img := &Image{ID: id.String(), Config: config.Config}
	for _, diff := range config.RootFS.DiffIDs {
		img.Layers = append(img.Layers, layerName(diff))
	}
	own, _ := metadataName(config.RootFS.DiffIDs)
	defer s.pin(append(slices.Clone(img.Layers), own))()
	if err := s.fetchLayers(ctx, layers, config.RootFS.DiffIDs, progress); err != nil {
		return nil, err
	}
	if own, err = s.metadataLayer(ctx, config.RootFS.DiffIDs); err != nil {
		return nil, fmt.Errorf("failed to put the layers of %q together: %w", ref, err)
	}
	if own != "" {
		img.Layers = append(img.Layers, own)
	}
	if err := s.describe(img, ref, digest); err != nil {
		return nil, err
	}
	if err := s.add(img); err != nil {
		return nil, err
	}
	return img, nil
}

// layerName is a layer's folder: short, since overlayfs takes all of them in one page.
func layerName(diff v1.Hash) string { return diff.Hex[:32] }

func (s *Store) fetchLayers(ctx context.Context, layers []v1.Layer, diffs []v1.Hash, progress func(string)) error {
	room := &budget{left: s.opts.MaxImageBytes}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelLayers)
	for i, l := range layers {
		group.Go(func() error {
			return s.once(gctx, layerName(diffs[i]), diffs[i].String(), func() error {
				progress(fmt.Sprintf("layer %d of %d: fetching", i+1, len(layers)))
				if err := s.fetchLayer(gctx, l, diffs[i], room); err != nil {
					return fmt.Errorf("failed to extract layer %s: %w", diffs[i], err)
				}
				return nil
			})
		})
	}
	return group.Wait()
}

// budget is the bytes that an image may still unpack to. Layers that are unpacked side by side may each use what is left
// of it, but not keep it.
type budget struct {
	mu   sync.Mutex
	left int64
}

func (b *budget) remaining() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.left
}

// spend fails when the image has become too large.
func (b *budget) spend(n int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.left {
		return errors.New("the image's layers together are larger than an image may be")
	}
	b.left -= n
	return nil
}

// fetchLayer streams a layer to the process that unpacks it.
func (s *Store) fetchLayer(ctx context.Context, l v1.Layer, diff v1.Hash, room *budget) error {
	body, err := l.Compressed() // verifies digest and size at its end
	if err != nil {
		return err
	}
	defer body.Close()
	stop := context.AfterFunc(ctx, func() { body.Close() })
	defer stop()
	return s.place(layerName(diff), func(temp string) (*layer.Info, error) {
		limits := layer.Limits{Bytes: min(s.opts.MaxLayerBytes, room.remaining()), MinFree: s.opts.MinFree}
		info, err := s.opts.Unpack.Unpack(ctx, body, temp, diff.Hex, limits)
		if err != nil {
			return nil, err
		}
		return info, room.spend(info.Size)
	})
}

// place has a layer made in a temporary folder and renames it. From then on its files never change.
func (s *Store) place(name string, fill func(temp string) (*layer.Info, error)) error {
	temp, err := os.MkdirTemp(s.layersDir(), name+".")
	if err != nil {
		return err
	}
	defer tree.Remove(temp) // nothing is left of it after the rename; Sweep takes what is
	info, err := fill(temp)
	if err != nil {
		return err
	}
	data, err := json.Marshal(info)
	if err != nil {
		return err
	}
	if err := os.WriteFile(temp+"/layer.json", data, 0o600); err != nil {
		return err
	}
	final := s.layersDir() + "/" + name
	if err := tree.Remove(final); err != nil { // without layer.json it is no layer
		return err
	}
	return os.Rename(temp, final)
}

// describe fills in size and names.
func (s *Store) describe(img *Image, ref Reference, digest string) error {
	for _, l := range img.Layers {
		info, err := s.readLayer(l)
		if err != nil {
			return err
		}
		img.Size += info.Size
	}
	if ref.Digest() == "" {
		img.Tags = []string{ref.String()}
	} else {
		img.Tags = []string{}
	}
	if digest != "" {
		img.Digests = []string{ref.Repository() + "@" + digest}
	}
	return nil
}

func (s *Store) readLayer(name string) (*layer.Info, error) {
	data, err := os.ReadFile(s.layerInfo(name))
	if err != nil {
		return nil, err
	}
	info := &layer.Info{}
	return info, json.Unmarshal(data, info)
}

// proven tells whether a layer is there; that of another digest whose beginning is the same is an error.
func (s *Store) proven(name, digest string) (bool, error) {
	info, err := s.readLayer(name)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading layer %s: %w", name, err)
	}
	if info.DiffID != digest {
		return false, fmt.Errorf("layer %s is %s here, not %s", name, info.DiffID, digest)
	}
	return true, nil
}

// resolveError says "not found" as containerd does, which users look for.
func resolveError(ref Reference, err error) error {
	var t *transport.Error
	if !errors.As(err, &t) {
		return err
	}
	switch t.StatusCode {
	case http.StatusNotFound:
		return fmt.Errorf("%s: not found", ref)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("pull access denied, repository does not exist or may require authorization: %w", err)
	}
	return err
}
