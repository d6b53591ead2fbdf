package image

import (
	"time"
)

// use is what is remembered of an image while the process lives.
type use struct {
	found time.Time // when it was pulled or, for one of before, the store opened
	used  time.Time // when it was asked for, or was seen in use; zero: never
	holds int
}

// use gives the record of an image; call it under mu.
func (s *Store) use(id string) *use {
	u := s.uses[id]
	if u == nil {
		u = &use{found: time.Now()}
		s.uses[id] = u
	}
	return u
}

// Hold finds an image as Resolve does and keeps it from being removed until release is called.
func (s *Store) Hold(ref string) (img *Image, release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if img, ok = s.resolve(ref); !ok {
		return nil, nil, false
	}
	u := s.use(img.ID)
	u.holds++
	return img, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		u.holds--
		u.used = time.Now()
	}, true
}

// Touch says that an image is in use now, or was until now.
func (s *Store) Touch(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.images[id] != nil {
		s.use(id).used = time.Now()
	}
}

// Layer is one layer of an image.
type Layer struct {
	ID   string
	Size int64 // unpacked bytes
}

// Use tells how an image is used.
type Use struct {
	ID          string
	Layers      []Layer
	Found, Used time.Time // Used is zero for an image nobody asked for since the start
	Held        bool
}

// Uses tells how all images are used, ordered by id.
func (s *Store) Uses() ([]Use, error) {
	images := s.List()
	sizes := map[string]int64{}
	for _, img := range images {
		for _, l := range img.Layers {
			if _, known := sizes[l]; known {
				continue
			}
			info, err := s.readLayer(l)
			if err != nil {
				return nil, err
			}
			sizes[l] = info.Size
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	uses := make([]Use, 0, len(images))
	for _, img := range images {
		u := s.use(img.ID)
		one := Use{ID: img.ID, Found: u.found, Used: u.used, Held: u.holds > 0}
		for _, l := range img.Layers {
			one.Layers = append(one.Layers, Layer{l, sizes[l]})
		}
		uses = append(uses, one)
	}
	return uses, nil
}
