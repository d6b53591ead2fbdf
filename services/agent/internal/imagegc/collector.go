// Package imagegc removes images that no pod uses when the file system they are on
// is nearly full, as kubelet does.
//
// Start with Collector. Promises: an image that a container was made from, running
// or not, that is being pulled, or that a pod of the node names, stays; of the
// others the least recently used go first, and no more than needed. What is decided
// stands in plan.go.
package imagegc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/agent/internal/runtime"
)

// every is the time between two looks at the disk when no image is pulled, as upstream's.
const every = 5 * time.Minute

// Images are those on the node (runtime.Node).
type Images interface {
	ImageDisk() (capacity, available int64, err error)
	ImageUses(named []string) ([]runtime.ImageUse, error)
	RemoveUnusedImage(id string, since time.Time) error
	SweepLayers() error
}

// Events says something about the node.
type Events interface {
	Node(eventType, reason, message string)
}

// Collector looks at the disk and removes images.
type Collector struct {
	Policy  Policy
	Images  Images
	Named   func() []string // images of the pods on the node
	Removed func()          // images went
	Events  Events
	Log     *zap.Logger

	poke   chan struct{}
	began  time.Time
	failed bool // the last look
}

// New returns a collector; the fields are set before Run.
func New(policy Policy) *Collector { return &Collector{Policy: policy, poke: make(chan struct{}, 1)} }

// Look asks for a look at the disk now: an image came, or could not.
func (c *Collector) Look() {
	select {
	case c.poke <- struct{}{}:
	default:
	}
}

// Run looks until ctx ends. While the disk has room a look is one question to the kernel.
func (c *Collector) Run(ctx context.Context) error {
	c.began = time.Now()
	timer := time.NewTicker(every)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-c.poke:
		}
		c.note(c.look(ctx, time.Now()))
	}
}

// note tells of a failure; the first may pass by itself.
func (c *Collector) note(err error) {
	switch {
	case err != nil && c.failed:
		c.Log.Warn("image garbage collection failed multiple times in a row", zap.Error(err))
		c.Events.Node(corev1.EventTypeWarning, "ImageGCFailed", err.Error())
	case err != nil:
		c.Log.Info("image garbage collection failed once", zap.Error(err))
	}
	c.failed = err != nil
}

func (c *Collector) look(ctx context.Context, now time.Time) error {
	disk, err := c.disk()
	if err != nil {
		return err
	}
	wanted := c.Policy.wanted(disk)
	if wanted <= 0 && c.Policy.MaxAge == 0 {
		return nil
	}
	images, err := c.Images.ImageUses(c.Named())
	if err != nil {
		return err
	}
	var went int
	defer func() {
		if went > 0 {
			c.Removed()
		}
	}()
	books := newLedger(images)
	old, failed := c.remove(ctx, c.Policy.old(images, c.began, now), now, books, func(int64) bool { return false })
	went += old
	if disk, err = c.disk(); err != nil {
		return errors.Join(failed, err)
	}
	if wanted = c.Policy.wanted(disk); wanted <= 0 {
		return failed
	}
	c.Log.Info("disk usage on image filesystem is over the high threshold, trying to free bytes down to the low threshold",
		zap.Int("usage", disk.used()), zap.Int64("amountToFree", wanted), zap.Int("lowThreshold", c.Policy.Low))
	room, err := c.room(ctx, images, disk, wanted, now, books)
	went += room
	return errors.Join(failed, err)
}

// Empty removes every image that nothing uses, whatever the thresholds, but for those that came
// within MinAge: the disk is short. It may run beside Run.
func (c *Collector) Empty(ctx context.Context, now time.Time) error {
	if err := c.Images.SweepLayers(); err != nil {
		return err
	}
	images, err := c.Images.ImageUses(c.Named())
	if err != nil {
		return err
	}
	went, err := c.remove(ctx, c.Policy.spare(images, now), now, newLedger(images), func(int64) bool { return false })
	if went > 0 {
		c.Removed()
	}
	return err
}

// disk asks how full the images' file system is.
func (c *Collector) disk() (Disk, error) {
	capacity, available, err := c.Images.ImageDisk()
	if err != nil {
		return Disk{}, err
	}
	if capacity == 0 {
		err := errors.New("invalid capacity 0 on image filesystem")
		c.Events.Node(corev1.EventTypeWarning, "InvalidDiskCapacity", err.Error())
		return Disk{}, err
	}
	return Disk{Capacity: capacity, Available: available}, nil
}

// room frees wanted bytes, or says that it cannot.
func (c *Collector) room(ctx context.Context, images []runtime.ImageUse, disk Disk, wanted int64, now time.Time, books *ledger) (went int, err error) {
	if err := c.Images.SweepLayers(); err != nil {
		return 0, err
	}
	swept, err := c.disk()
	if err != nil {
		return 0, err
	}
	freed := max(swept.Available-disk.Available, 0)
	if freed < wanted {
		went, err = c.remove(ctx, c.Policy.spare(images, now), now, books, func(bytes int64) bool {
			freed += bytes
			return freed >= wanted
		})
	}
	if err != nil {
		return went, fmt.Errorf("wanted to free %d bytes, but freed %d bytes space with errors in image deletion: %w", wanted, freed, err)
	}
	if freed < wanted {
		message := fmt.Sprintf("Insufficient free disk space on the node's image filesystem (%d%% of %s used). "+
			"Failed to free sufficient space by deleting unused images (freed %d bytes). "+
			"Investigate disk usage, as it could be used by active images, logs, volumes, or other data.",
			disk.used(), inWords(disk.Capacity), freed)
		c.Events.Node(corev1.EventTypeWarning, "FreeDiskSpaceFailed", message)
		return went, errors.New(message)
	}
	return went, nil
}

// remove removes images until enough says so of what one has freed, and counts
// those that went. One that somebody has begun to use meanwhile stays.
func (c *Collector) remove(ctx context.Context, ids []string, since time.Time, books *ledger, enough func(freed int64) bool) (went int, err error) {
	var errs []error
	for _, id := range ids {
		if ctx.Err() != nil {
			break
		}
		if books.layers[id] == nil { // removed for its age
			continue
		}
		switch err := c.Images.RemoveUnusedImage(id, since); {
		case errors.Is(err, runtime.ErrImageInUse), errors.Is(err, runtime.ErrNotFound):
			continue
		case err != nil:
			errs = append(errs, err)
			continue
		}
		freed := books.remove(id)
		went++
		c.Log.Info("removed an image", zap.String("image", id), zap.Int64("bytes", freed))
		if enough(freed) {
			break
		}
	}
	return went, errors.Join(errs...)
}
