package folder

import (
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"

	"kubus.dev/proto/message"
)

const gib = int64(1) << 30

// open gives a store on a disk of 10 GiB with so many free.
func open(t *testing.T, free int64) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "volumes"))
	if err != nil {
		t.Fatal(err)
	}
	s.space = func(string) (int64, int64, error) { return 10 * gib, free, nil }
	return s
}

func TestMakeIsHeldToTheDisk(t *testing.T) {
	t.Parallel()
	s := open(t, 8*gib)
	for _, step := range []struct {
		name  string
		size  int64
		error string
	}{
		{"a", 5 * gib, ""},
		{"a", 5 * gib, ""}, // again
		{"b", 9 * gib, "the node has 8Gi free, 9Gi more are asked for"},
		{"b", 6 * gib, "the node's disk holds 10Gi, of which 5Gi are promised to other volumes; 6Gi are asked for"},
		{"b", 4 * gib, ""},
		{"a", 6 * gib, ""}, // grows
		{"a", 7 * gib, "the node's disk holds 10Gi, of which 4Gi are promised to other volumes; 7Gi are asked for"},
		{"a", 1 * gib, ""}, // never shrinks
		{"b", 5 * gib, "the node's disk holds 10Gi, of which 6Gi are promised to other volumes; 5Gi are asked for"},
	} {
		path, err := s.Make(step.name, step.size)
		if got := text(err); got != step.error {
			t.Errorf("%s of %d: %q, want %q", step.name, step.size, got, step.error)
		}
		if want := filepath.Join(s.dir, step.name, "data"); err == nil && path != want {
			t.Errorf("%s is at %s, want %s", step.name, path, want)
		}
	}
	info, err := os.Stat(filepath.Join(s.dir, "a", "data"))
	if err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("%v, %v: pods of any user must be able to write there", info, err)
	}
}

func TestWhatIsMadeAgainKeepsItsContent(t *testing.T) {
	t.Parallel()
	s := open(t, 10*gib)
	path, err := s.Make("a", gib)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "f"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Make("a", 2*gib); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(path, "f")); string(data) != "x" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestRemoveStaysInTheFolder(t *testing.T) {
	t.Parallel()
	s, outside := open(t, 10*gib), t.TempDir()
	path, err := s.Make("a", gib)
	if err != nil {
		t.Fatal(err)
	}
	canary := filepath.Join(outside, "canary")
	for _, err := range []error{
		os.WriteFile(canary, nil, 0o600),
		os.Symlink(outside, filepath.Join(path, "out")),
		os.Symlink(canary, filepath.Join(path, "file")),
		os.Mkdir(filepath.Join(path, "deep"), 0o755),
		os.Symlink("../../../..", filepath.Join(path, "deep", "up")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // again is fine
		if err := s.Remove("a"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(filepath.Join(s.dir, "a")); !os.IsNotExist(err) {
		t.Errorf("still there: %v", err)
	}
	if _, err := os.Stat(canary); err != nil {
		t.Errorf("what lies outside is gone: %v", err)
	}
	if _, err := s.Make("b", 10*gib); err != nil {
		t.Errorf("the removed volume's room is still taken: %v", err)
	}
}

func TestNamesThatLeadElsewhereAreRefused(t *testing.T) {
	t.Parallel()
	s := open(t, 10*gib)
	for _, name := range []string{"", ".", "..", "../a", "a/b", "/etc", "A", "a\x00"} {
		if _, err := s.Make(name, 1); err == nil {
			t.Errorf("%q was made", name)
		}
		if err := s.Remove(name); err == nil {
			t.Errorf("%q was removed", name)
		}
	}
	if _, err := os.Stat(s.dir); err != nil {
		t.Error(err)
	}
}

func TestALinkInPlaceOfAVolumeIsNotFollowed(t *testing.T) {
	t.Parallel()
	s, outside := open(t, 10*gib), t.TempDir()
	if err := os.Mkdir(filepath.Join(s.dir, "a"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{filepath.Join(s.dir, "a", "data"), filepath.Join(s.dir, "b")} {
		if err := os.Symlink(outside, link); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Make("a", gib); err == nil {
		t.Error("a link was taken for the volume")
	}
	for _, name := range []string{"a", "b"} {
		if err := s.Remove(name); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(outside); err != nil {
		t.Errorf("what lies outside is gone: %v", err)
	}
}

func TestAnswersSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := open(t, gib)
	for name, tt := range map[string]struct {
		request *message.VolumeRequest
		error   string
		path    string
	}{
		"make":      {&message.VolumeRequest{Name: "a", Verb: message.VolumeRequest_MAKE, Bytes: 1}, "", filepath.Join(s.dir, "a", "data")},
		"too large": {&message.VolumeRequest{Name: "b", Verb: message.VolumeRequest_MAKE, Bytes: 2 * gib}, "the node has 1Gi free, 2Gi more are asked for", ""},
		"remove":    {&message.VolumeRequest{Name: "c", Verb: message.VolumeRequest_REMOVE}, "", ""},
		"newer":     {&message.VolumeRequest{Name: "c", Verb: 77}, "this node does not know how to 77 a volume", ""},
	} {
		data, err := proto.Marshal(tt.request)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.answer(data); got.Error != tt.error || got.Path != tt.path {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
