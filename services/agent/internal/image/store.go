// Package image pulls images from OCI registries, unpacks their layers and keeps them on disk.
//
// Start with Open and Store.Pull; Store.Lowers gives an image's layers as overlayfs wants them.
//
// Promises: a layer is unpacked under a temporary name and renamed only when both of its digests were right, so
// what is in the store is whole; a pull that fails leaves nothing but whole layers, which Sweep, Remove or the next
// Open removes. An image leaves the index before its layers go, and a layer that another image or a running pull
// needs stays, wherever a removal is cut off. A layer's files never change once it is in the store, whatever other images
// say about them. The same layer is fetched once at a time, whoever asks. All methods may be called concurrently.
package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"kubus.dev/services/agent/internal/layer"
	"kubus.dev/services/agent/internal/registry"
	"kubus.dev/services/agent/internal/tree"
	"kubus.dev/services/kit/file"
)

// Errors of a Store.
var (
	ErrNotFound = errors.New("image not found")
	ErrInUse    = errors.New("image is in use")
)

// Image is an image in the store.
type Image struct {
	ID      string   `json:"id"` // digest of the config
	Tags    []string `json:"tags,omitempty"`
	Digests []string `json:"digests,omitempty"`
	Layers  []string `json:"layers"` // folders below layers/, lowest first
	Size    int64    `json:"size"`   // unpacked bytes
	// Boot is the boot during which the image was pulled, until it is known to be on the disk. After a power loss
	// such an image may be damaged and is dropped.
	Boot string `json:"boot,omitempty"`
	// Config is what the image says about its processes.
	Config v1.Config `json:"config"`
}

// Options of a Store.
type Options struct {
	Dir        string            // images/ and layers/ go below it
	Insecure   []string          // registries in plain HTTP, beside those on loopback
	Registries registry.Settings // who else is asked, and how
	// MaxLayerBytes bounds an unpacked layer, MaxImageBytes all layers that one pull unpacks; 0 is 64 GiB.
	MaxLayerBytes, MaxImageBytes int64
	// MinFree is how many bytes of the disk pulls must leave to others; 0 does not look.
	MinFree int64
	Unpack  layer.Runner // unpacks layers, in processes of their own
	Logger  *zap.Logger
}

// Store keeps images.
type Store struct {
	opts Options

	mu     sync.Mutex
	images map[string]*Image        // by id
	uses   map[string]*use          // likewise
	busy   map[string]chan struct{} // layers being fetched
	pins   map[string]int           // layers that a running pull needs

	boot    string
	syncing sync.WaitGroup
	closing sync.Once
	dirty   chan struct{} // holds one: something waits to be made durable
	closed  chan struct{}
}

// Open reads the index and removes what no image needs.
func Open(opts Options) (*Store, error) {
	s := &Store{opts: opts, images: map[string]*Image{}, uses: map[string]*use{}, busy: map[string]chan struct{}{}, pins: map[string]int{},
		dirty: make(chan struct{}, 1), closed: make(chan struct{})}
	if s.opts.MaxLayerBytes == 0 {
		s.opts.MaxLayerBytes = 64 << 30
	}
	if s.opts.MaxImageBytes == 0 {
		s.opts.MaxImageBytes = 64 << 30
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("opening image store: %w", err)
	}
	s.boot = strings.TrimSpace(string(boot))
	if err := os.RemoveAll(s.importDir()); err != nil {
		return nil, fmt.Errorf("opening image store: %w", err)
	}
	for _, dir := range []string{s.imagesDir(), s.layersDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("opening image store: %w", err)
		}
	}
	data, err := os.ReadFile(s.indexPath())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("reading image index: %w", err)
	}
	var list []*Image
	if len(data) > 0 {
		if err := json.Unmarshal(data, &list); err != nil {
			return nil, fmt.Errorf("reading image index %s: %w", s.indexPath(), err)
		}
	}
	for _, img := range list {
		switch {
		case !s.complete(img):
			s.opts.Logger.Warn("image lacks layers and is dropped", zap.String("image", img.ID))
		case img.Boot != "" && img.Boot != s.boot:
			s.opts.Logger.Warn("image was not on the disk when the machine went down and is dropped", zap.String("image", img.ID))
		default:
			s.images[img.ID] = img
			s.use(img.ID)
		}
	}
	if err := s.Sweep(); err != nil {
		return nil, err
	}
	s.syncing.Go(s.syncDirty)
	s.markDirty()
	return s, nil
}

func (s *Store) imagesDir() string           { return filepath.Join(s.opts.Dir, "images") }
func (s *Store) importDir() string           { return filepath.Join(s.opts.Dir, "import") }
func (s *Store) layersDir() string           { return filepath.Join(s.opts.Dir, "layers") }
func (s *Store) indexPath() string           { return filepath.Join(s.imagesDir(), "index.json") }
func (s *Store) layerFS(layer string) string { return filepath.Join(s.layersDir(), layer, "fs") }
func (s *Store) layerInfo(layer string) string {
	return filepath.Join(s.layersDir(), layer, "layer.json")
}

func (s *Store) complete(img *Image) bool {
	for _, l := range img.Layers {
		if _, err := os.Stat(s.layerInfo(l)); err != nil {
			return false
		}
	}
	return true
}

// Resolve finds an image by reference, by id or by an unambiguous beginning of an id.
func (s *Store) Resolve(ref string) (*Image, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resolve(ref)
}

func (s *Store) resolve(ref string) (*Image, bool) {
	if img, ok := s.images[ref]; ok {
		return img, true
	}
	if r, err := ParseReference(ref); err == nil {
		for _, img := range s.images {
			if slices.Contains(img.Tags, r.String()) || slices.Contains(img.Digests, r.String()) {
				return img, true
			}
		}
	}
	return nil, false
}

// List gives all images ordered by id. They are shared: do not modify them.
func (s *Store) List() []*Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.images), func(a, b *Image) int { return strings.Compare(a.ID, b.ID) })
}

// Lowers lists the folders of an image's layers, uppermost first as overlayfs wants them.
func (s *Store) Lowers(img *Image) []string {
	dirs := make([]string, 0, len(img.Layers))
	for _, l := range slices.Backward(img.Layers) {
		dirs = append(dirs, s.layerFS(l))
	}
	return dirs
}

// Remove takes a reference away from an image, or all with its id; an image without any goes, with the layers
// that no other image needs. An image that is held, or was used at the given time or later, stays: ErrInUse.
func (s *Store) Remove(ref string, since time.Time) error {
	err := s.forget(ref, since)
	full := errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
	if err != nil && !full {
		return err
	}
	if err := s.Sweep(); err != nil || !full {
		return err
	}
	s.mu.Lock() // there is room now
	defer s.mu.Unlock()
	return s.save(true)
}

// forget takes a reference out of the index. On a full disk it does so in memory only: an image whose layers have
// gone is dropped by the next Open.
func (s *Store) forget(ref string, since time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	img, ok := s.resolve(ref)
	if !ok {
		return ErrNotFound
	}
	next := *img
	next.Tags, next.Digests = nil, nil
	if ref != img.ID {
		r, err := ParseReference(ref)
		if err != nil {
			return err
		}
		without := func(list []string) []string {
			return slices.DeleteFunc(slices.Clone(list), func(t string) bool { return t == r.String() })
		}
		next.Tags, next.Digests = without(img.Tags), without(img.Digests)
	}
	if len(next.Tags) > 0 {
		s.images[img.ID] = &next
	} else if u := s.use(img.ID); u.holds > 0 || !u.used.Before(since) {
		return ErrInUse
	} else {
		delete(s.images, img.ID)
	}
	err := s.save(true)
	if err != nil && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		s.images[img.ID] = img
		return err
	}
	if s.images[img.ID] == nil {
		delete(s.uses, img.ID)
	}
	return err
}

// add records a pulled image; a tag belongs to one image only.
func (s *Store) add(img *Image) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, other := range s.images {
		if id == img.ID {
			img.Tags = merge(other.Tags, img.Tags)
			img.Digests = merge(other.Digests, img.Digests)
			continue
		}
		kept := slices.DeleteFunc(slices.Clone(other.Tags), func(t string) bool { return slices.Contains(img.Tags, t) })
		if len(kept) != len(other.Tags) {
			next := *other
			next.Tags = kept
			s.images[id] = &next
		}
	}
	img.Boot = s.boot
	s.images[img.ID] = img
	s.use(img.ID).used = time.Now()
	s.markDirty()
	return s.save(false)
}

func merge(a, b []string) []string {
	all := append(slices.Clone(a), b...)
	slices.Sort(all)
	return slices.Compact(all)
}

// save replaces the index; durably when the layers that it names are on the disk, or others are about to go.
func (s *Store) save(durably bool) error {
	list := slices.SortedFunc(maps.Values(s.images), func(a, b *Image) int { return strings.Compare(a.ID, b.ID) })
	data, err := json.MarshalIndent(list, "", " ")
	if err != nil {
		return err
	}
	replace := file.Replace
	if durably {
		replace = file.ReplaceDurably
	}
	if err := replace(s.indexPath(), data, 0o600); err != nil {
		return fmt.Errorf("writing image index: %w", err)
	}
	return nil
}

// Sweep removes layers that neither an image nor a running pull needs. A layer is renamed before it is removed, so
// that one that is half gone is never taken for whole.
func (s *Store) Sweep() error {
	gone, err := s.setAside()
	for _, dir := range gone {
		if rerr := tree.Remove(dir); rerr != nil {
			err = errors.Join(err, fmt.Errorf("removing a layer: %w", rerr))
		}
	}
	return err
}

// setAside renames the layers that are not needed and lists what is to be removed.
func (s *Store) setAside() (gone []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	needed := map[string]bool{}
	for _, img := range s.images {
		for _, l := range img.Layers {
			needed[l] = true
		}
	}
	entries, err := os.ReadDir(s.layersDir())
	if err != nil {
		return nil, fmt.Errorf("looking for layers of no image: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		layer, suffix, temporary := strings.Cut(name, ".") // a layer that is being made or removed has a suffix
		if needed[name] || s.pins[layer] > 0 && !strings.HasSuffix(suffix, goneSuffix) {
			continue
		}
		path := filepath.Join(s.layersDir(), name)
		if !temporary {
			aside := fmt.Sprintf("%s.%x%s", path, time.Now().UnixNano(), goneSuffix)
			if err := os.Rename(path, aside); err != nil {
				return gone, fmt.Errorf("setting a layer aside: %w", err)
			}
			path = aside
		}
		gone = append(gone, path)
	}
	return gone, nil
}

// goneSuffix ends the names of layers that are being removed.
const goneSuffix = "-gone"

// pin keeps layers from being collected until the returned function is called.
func (s *Store) pin(layers []string) (unpin func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range layers {
		s.pins[l]++
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, l := range layers {
			if s.pins[l]--; s.pins[l] <= 0 {
				delete(s.pins, l)
			}
		}
	}
}

// once runs fetch for a layer that is not there, one caller at a time; the others wait and look again. A layer that is
// there must have the whole digest.
func (s *Store) once(ctx context.Context, layer, digest string, fetch func() error) error {
	for {
		s.mu.Lock()
		wait, fetching := s.busy[layer]
		if !fetching {
			if there, err := s.proven(layer, digest); there || err != nil {
				s.mu.Unlock()
				return err
			}
			done := make(chan struct{})
			s.busy[layer] = done
			s.mu.Unlock()
			err := fetch()
			s.mu.Lock()
			delete(s.busy, layer)
			s.mu.Unlock()
			close(done)
			return err
		}
		s.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Store) markDirty() {
	select {
	case s.dirty <- struct{}{}:
	default:
	}
}

// syncDirty makes pulled images durable in the background: a sync of the file system takes seconds on a busy disk,
// and a pod need not wait for it.
func (s *Store) syncDirty() {
	for {
		select {
		case <-s.closed:
			return
		case <-s.dirty:
		}
		if err := s.syncImages(); err != nil {
			s.opts.Logger.Warn("making images durable", zap.Error(err))
		}
	}
}

func (s *Store) syncImages() error {
	s.mu.Lock()
	var pending []string
	for id, img := range s.images {
		if img.Boot != "" {
			pending = append(pending, id)
		}
	}
	s.mu.Unlock()
	if len(pending) == 0 {
		return nil
	}
	fd, err := unix.Open(s.layersDir(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Syncfs(fd); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range pending {
		if img := s.images[id]; img != nil {
			next := *img
			next.Boot = ""
			s.images[id] = &next
		}
	}
	return s.save(true)
}

// Close waits for what is being made durable, any number of times. The store must not be used afterwards.
func (s *Store) Close() {
	s.closing.Do(func() { close(s.closed) })
	s.syncing.Wait()
}
