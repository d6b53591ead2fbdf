package imagegc

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"kubus.dev/services/agent/internal/runtime"
)

// Policy says when unused images go.
type Policy struct {
	High   int           // percent of the file system in use from which on images go; 100: never for room
	Low    int           // percent that is aimed at
	MinAge time.Duration // images found more recently stay
	MaxAge time.Duration // images unused for longer go in any case; 0: none
}

// Validate gives what is wrong, in upstream's words.
func (p Policy) Validate() error {
	var problems []error
	for _, t := range []struct {
		name    string
		percent int
	}{{"imageGCHighThresholdPercent", p.High}, {"imageGCLowThresholdPercent", p.Low}} {
		if t.percent < 0 || t.percent > 100 {
			problems = append(problems, fmt.Errorf("%s: invalid value %d, must be in range [0-100]", t.name, t.percent))
		}
	}
	if p.Low >= p.High {
		problems = append(problems, fmt.Errorf("imageGCLowThresholdPercent: %d must be less than imageGCHighThresholdPercent %d", p.Low, p.High))
	}
	if p.MinAge < 0 {
		problems = append(problems, fmt.Errorf("imageMinimumGCAge: %s must not be negative", p.MinAge))
	}
	if p.MaxAge != 0 && p.MaxAge < p.MinAge {
		problems = append(problems, fmt.Errorf("imageMaximumGCAge: %s must be greater than imageMinimumGCAge %s", p.MaxAge, p.MinAge))
	}
	return errors.Join(problems...)
}

// Disk is the file system that images are on.
type Disk struct {
	Capacity, Available int64
}

// used is how full the disk is, in percent, rounded up.
func (d Disk) used() int { return 100 - int(min(d.Available, d.Capacity)*100/d.Capacity) }

// wanted is how many bytes should be freed; zero while the disk is not too full.
func (p Policy) wanted(d Disk) int64 {
	if p.High == 100 || d.used() < p.High {
		return 0
	}
	return d.Capacity*int64(100-p.Low)/100 - d.Available
}

// old lists the images nobody has used for longer than MaxAge. Nothing is old
// before we have watched for so long.
func (p Policy) old(images []runtime.ImageUse, began, now time.Time) (ids []string) {
	if p.MaxAge == 0 || now.Sub(began) <= p.MaxAge {
		return nil
	}
	for _, img := range inOrder(images) {
		if now.Sub(later(img.Used, img.Found)) > p.MaxAge {
			ids = append(ids, img.ID)
		}
	}
	return ids
}

// spare lists the images that may go for room, the least recently used first. One
// that would free nothing, since images that stay have all its layers, is left out.
func (p Policy) spare(images []runtime.ImageUse, now time.Time) (ids []string) {
	var may []runtime.ImageUse
	for _, img := range inOrder(images) {
		if now.Sub(img.Found) >= p.MinAge {
			may = append(may, img)
		}
	}
	kept := map[string]bool{}
	for _, img := range images {
		if slices.ContainsFunc(may, func(m runtime.ImageUse) bool { return m.ID == img.ID }) {
			continue
		}
		for _, l := range img.Layers {
			kept[l.ID] = true
		}
	}
	for _, img := range may {
		for _, l := range img.Layers {
			if !kept[l.ID] {
				ids = append(ids, img.ID)
				break
			}
		}
	}
	return ids
}

// inOrder gives the images that are not in use, the least recently used first.
func inOrder(images []runtime.ImageUse) (unused []runtime.ImageUse) {
	for _, img := range images {
		if !img.InUse {
			unused = append(unused, img)
		}
	}
	slices.SortFunc(unused, func(a, b runtime.ImageUse) int {
		return cmp.Or(a.Used.Compare(b.Used), a.Found.Compare(b.Found), strings.Compare(a.ID, b.ID))
	})
	return unused
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// ledger counts which images need a layer, and so what removing one frees.
type ledger struct {
	layers map[string]map[string]int64 // by image
	needed map[string]int              // by layer
}

func newLedger(images []runtime.ImageUse) *ledger {
	l := &ledger{layers: map[string]map[string]int64{}, needed: map[string]int{}}
	for _, img := range images {
		l.layers[img.ID] = map[string]int64{}
		for _, layer := range img.Layers {
			l.layers[img.ID][layer.ID] = layer.Size
		}
		for id := range l.layers[img.ID] {
			l.needed[id]++
		}
	}
	return l
}

// remove notes that an image is gone and gives the bytes of the layers that went with it.
func (l *ledger) remove(image string) (freed int64) {
	for layer, size := range l.layers[image] {
		if l.needed[layer]--; l.needed[layer] == 0 {
			freed += size
		}
	}
	delete(l.layers, image)
	return freed
}

// inWords is a size for people to read.
func inWords(bytes int64) string {
	size, unit := float64(bytes), "B"
	for _, larger := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if size < 1024 {
			break
		}
		size, unit = size/1024, larger
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%.1f %s", size, unit)
}
