package imagegc

import (
	"slices"
	"strings"
	"testing"
	"time"

	"kubus.dev/services/agent/internal/image"
	"kubus.dev/services/agent/internal/runtime"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

var usual = Policy{High: 85, Low: 80, MinAge: 2 * time.Minute}

func ago(minutes int) time.Time { return now.Add(-time.Duration(minutes) * time.Minute) }

// unused is an image found an hour ago and last used the given minutes ago; its
// layers, a letter each, have 10 bytes.
func unused(id string, minutes int, layers string) runtime.ImageUse {
	u := runtime.ImageUse{Use: image.Use{ID: id, Found: ago(60), Used: ago(minutes)}}
	for _, l := range layers {
		u.Layers = append(u.Layers, image.Layer{ID: string(l), Size: 10})
	}
	return u
}

func inUse(id, layers string) runtime.ImageUse {
	u := unused(id, 0, layers)
	u.InUse = true
	return u
}

func never(u runtime.ImageUse) runtime.ImageUse {
	u.Used = time.Time{}
	return u
}

func foundAgo(minutes int, u runtime.ImageUse) runtime.ImageUse {
	u.Found = ago(minutes)
	return u
}

func TestHowMuchIsWanted(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		policy Policy
		disk   Disk
		want   int64
	}{
		{"a disk with room", usual, Disk{1000, 160}, 0},
		{"at the high threshold down to the low one", usual, Disk{1000, 150}, 50},
		{"a full disk", usual, Disk{1000, 0}, 200},
		{"more free than there is", usual, Disk{1000, 2000}, 0},
		{"switched off", Policy{High: 100, Low: 80}, Disk{1000, 0}, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := c.policy.wanted(c.disk); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

func TestWhichImagesMayGoForRoom(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		images []runtime.ImageUse
		want   []string
	}{
		{"the least recently used first", []runtime.ImageUse{unused("new", 1, "a"), unused("old", 30, "b"), never(unused("never", 0, "c"))}, []string{"never", "old", "new"}},
		{"equally used ones by when they came", []runtime.ImageUse{foundAgo(5, never(unused("second", 0, "a"))), foundAgo(9, never(unused("first", 0, "b")))}, []string{"first", "second"}},
		{"one in use stays", []runtime.ImageUse{inUse("busy", "a"), unused("idle", 1, "b")}, []string{"idle"}},
		{"one that came just now stays", []runtime.ImageUse{foundAgo(1, unused("fresh", 1, "a")), foundAgo(2, unused("ripe", 2, "b"))}, []string{"ripe"}},
		{"one whose layers others keep would free nothing", []runtime.ImageUse{inUse("busy", "ab"), unused("part", 9, "a"), unused("more", 5, "ac")}, []string{"more"}},
		{"twins free their layers together", []runtime.ImageUse{unused("one", 9, "ab"), unused("other", 5, "ab")}, []string{"one", "other"}},
		{"none", nil, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := usual.spare(c.images, now); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestWhichImagesAreOld(t *testing.T) {
	t.Parallel()
	images := []runtime.ImageUse{unused("week", 50, "a"), unused("hour", 20, "b"), inUse("busy", "c"), foundAgo(10, never(unused("never", 0, "d")))}
	limited := Policy{High: 85, Low: 80, MaxAge: 30 * time.Minute}
	cases := []struct {
		name   string
		policy Policy
		began  time.Time
		want   []string
	}{
		{"those unused for longer than the limit", limited, ago(60), []string{"week"}},
		{"none before we have watched for so long", limited, ago(30), nil},
		{"none without a limit", usual, ago(600), nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := c.policy.old(images, c.began, now); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestALayerIsFreedWithTheLastImageThatNeedsIt(t *testing.T) {
	t.Parallel()
	books := newLedger([]runtime.ImageUse{unused("one", 0, "aab"), unused("other", 0, "bc"), inUse("busy", "c")})
	for i, want := range []struct {
		image string
		freed int64
	}{{"one", 10}, {"other", 10}, {"gone", 0}} {
		if got := books.remove(want.image); got != want.freed {
			t.Errorf("step %d: removing %s freed %d, want %d", i, want.image, got, want.freed)
		}
	}
}

func TestAPolicyThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	if err := usual.Validate(); err != nil {
		t.Error(err)
	}
	err := Policy{High: 101, Low: -1, MinAge: -1, MaxAge: -2}.Validate()
	for _, key := range []string{"imageGCHighThresholdPercent", "imageGCLowThresholdPercent", "imageMinimumGCAge", "imageMaximumGCAge"} {
		if err == nil || !strings.Contains(err.Error(), key+":") {
			t.Errorf("nothing of %s in %v", key, err)
		}
	}
	if err := (Policy{High: 80, Low: 80}).Validate(); err == nil {
		t.Error("equal thresholds pass")
	}
}

func TestSizesInWords(t *testing.T) {
	t.Parallel()
	for bytes, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 50 << 20: "50.0 MiB", 3 << 39: "1.5 TiB", 1 << 51: "2048.0 TiB"} {
		if got := inWords(bytes); got != want {
			t.Errorf("%d: got %s, want %s", bytes, got, want)
		}
	}
}
