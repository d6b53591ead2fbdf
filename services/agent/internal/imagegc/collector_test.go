package imagegc

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"kubus.dev/services/agent/internal/runtime"
)

// shelf is a disk with images on it.
type shelf struct {
	disk    Disk
	images  []runtime.ImageUse
	refuse  map[string]error
	asked   atomic.Int32 // for the disk
	listed  int
	removed []string
	events  []string
	told    int
}

func (s *shelf) ImageDisk() (int64, int64, error) {
	s.asked.Add(1)
	return s.disk.Capacity, s.disk.Available, nil
}

func (s *shelf) ImageUses([]string) ([]runtime.ImageUse, error) {
	s.listed++
	return slices.Clone(s.images), nil
}

func (s *shelf) RemoveUnusedImage(id string, _ time.Time) error {
	if err := s.refuse[id]; err != nil {
		return err
	}
	s.removed = append(s.removed, id)
	books := newLedger(s.images)
	s.disk.Available += books.remove(id)
	s.images = slices.DeleteFunc(s.images, func(u runtime.ImageUse) bool { return u.ID == id })
	return nil
}

func (s *shelf) SweepLayers() error { return nil }

func (s *shelf) Node(eventType, reason, message string) {
	s.events = append(s.events, eventType+" "+reason+" "+message)
}

func (s *shelf) collector(policy Policy) *Collector {
	c := New(policy)
	c.Images, c.Events, c.Named, c.Removed, c.Log = s, s, func() []string { return nil }, func() { s.told++ }, zap.NewNop()
	return c
}

func TestALookAtADiskWithRoomAsksForNothingElse(t *testing.T) {
	s := &shelf{disk: Disk{100, 50}, images: []runtime.ImageUse{unused("a", 9, "a")}}
	if err := s.collector(usual).look(t.Context(), now); err != nil || s.asked.Load() != 1 || s.listed != 0 || len(s.removed) != 0 {
		t.Errorf("%v: asked %d times, listed %d times, removed %q", err, s.asked.Load(), s.listed, s.removed)
	}
}

func TestNoMoreGoesThanIsWanted(t *testing.T) {
	s := &shelf{disk: Disk{100, 5}, images: []runtime.ImageUse{
		unused("third", 1, "e"), unused("first", 9, "a"), unused("second", 5, "b"), inUse("busy", "c"),
	}}
	if err := s.collector(usual).look(t.Context(), now); err != nil {
		t.Error(err)
	}
	if !slices.Equal(s.removed, []string{"first", "second"}) || s.told != 1 || len(s.events) != 0 {
		t.Errorf("removed %q, told %d times, events %q", s.removed, s.told, s.events)
	}
}

func TestTooLittleRoomIsAnEvent(t *testing.T) {
	s := &shelf{disk: Disk{100 << 20, 0}, images: []runtime.ImageUse{unused("a", 9, "a"), inUse("busy", "b")}}
	c := s.collector(usual)
	c.note(c.look(t.Context(), now))
	want := "Warning FreeDiskSpaceFailed Insufficient free disk space on the node's image filesystem (100% of 100.0 MiB used). " +
		"Failed to free sufficient space by deleting unused images (freed 10 bytes). " +
		"Investigate disk usage, as it could be used by active images, logs, volumes, or other data."
	if !slices.Equal(s.events, []string{want}) {
		t.Errorf("events %q", s.events)
	}
	c.note(c.look(t.Context(), now))
	if len(s.events) != 3 || !strings.HasPrefix(s.events[2], "Warning ImageGCFailed Insufficient") {
		t.Errorf("a second failure: events %q", s.events)
	}
}

func TestAnImageTakenIntoUseMeanwhileIsPassedOver(t *testing.T) {
	s := &shelf{disk: Disk{100, 12}, images: []runtime.ImageUse{unused("taken", 9, "a"), unused("idle", 5, "b")},
		refuse: map[string]error{"taken": runtime.ErrImageInUse}}
	if err := s.collector(usual).look(t.Context(), now); err != nil || !slices.Equal(s.removed, []string{"idle"}) {
		t.Errorf("%v: removed %q", err, s.removed)
	}
}

func TestOneThatCannotBeRemovedHindersNoOther(t *testing.T) {
	broken := errors.New("read-only file system")
	s := &shelf{disk: Disk{100, 12}, images: []runtime.ImageUse{unused("stuck", 9, "a"), unused("idle", 5, "b")},
		refuse: map[string]error{"stuck": broken}}
	if err := s.collector(usual).look(t.Context(), now); !errors.Is(err, broken) || !slices.Equal(s.removed, []string{"idle"}) {
		t.Errorf("%v: removed %q", err, s.removed)
	}
}

func TestOldImagesGoThoughThereIsRoom(t *testing.T) {
	s := &shelf{disk: Disk{100, 50}, images: []runtime.ImageUse{unused("old", 50, "a"), unused("young", 5, "b")}}
	c := s.collector(Policy{High: 85, Low: 80, MaxAge: 30 * time.Minute})
	c.began = ago(60)
	if err := c.look(t.Context(), now); err != nil || !slices.Equal(s.removed, []string{"old"}) {
		t.Errorf("%v: removed %q", err, s.removed)
	}
}

func TestADiskWithoutSizeIsAnEvent(t *testing.T) {
	s := &shelf{}
	if err := s.collector(usual).look(t.Context(), now); err == nil || len(s.events) != 1 || !strings.Contains(s.events[0], "InvalidDiskCapacity") {
		t.Errorf("%v: events %q", err, s.events)
	}
}

func TestLooksAreAtPullsAndEveryFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{disk: Disk{100, 50}}
		c := s.collector(usual)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		time.Sleep(4 * time.Minute)
		if s.asked.Load() != 0 {
			t.Errorf("asked %d times before there was a reason", s.asked.Load())
		}
		c.Look()
		synctest.Wait()
		if s.asked.Load() != 1 {
			t.Errorf("asked %d times after a pull", s.asked.Load())
		}
		time.Sleep(10*time.Minute + time.Second)
		if s.asked.Load() != 3 {
			t.Errorf("asked %d times in all", s.asked.Load())
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestAShortDiskMakesEveryUnusedImageGo(t *testing.T) {
	s := &shelf{disk: Disk{100, 50}, images: []runtime.ImageUse{unused("a", 9, "a"), unused("b", 5, "b"), inUse("busy", "c")}}
	if err := s.collector(usual).Empty(t.Context(), now); err != nil || len(s.removed) != 2 || slices.Contains(s.removed, "busy") || s.told != 1 {
		t.Errorf("%v: removed %q, told %d times", err, s.removed, s.told)
	}
}
