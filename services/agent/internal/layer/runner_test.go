package layer

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"kubus.dev/services/agent/internal/layertest"
	"kubus.dev/services/kit/kittest"
)

// hog is an order that no archive can give: to take more memory than there may be.
const hog = "hog"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == Command {
		if strings.Contains(os.Args[2], hog) {
			if err := confine(); err != nil {
				panic(err)
			}
			for hold := [][]byte{}; len(hold) < 64; { // twice what it may: without the bound the test fails, and not the machine
				hold = append(hold, bytes.Repeat([]byte{1}, 16<<20))
			}
			os.Exit(0)
		}
		Main(os.Args[2])
	}
	os.Exit(m.Run())
}

func digest(blob []byte) string {
	sum := sha256.Sum256(blob)
	return hex.EncodeToString(sum[:])
}

func run(t *testing.T, blob []byte, limits Limits) (string, *Info, error) {
	t.Helper()
	kittest.NeedRoot(t)
	dir := t.TempDir()
	info, err := Runner{"/proc/self/exe"}.Unpack(t.Context(), bytes.NewReader(blob), dir, digest(blob), limits)
	return filepath.Join(dir, "fs"), info, err
}

func TestALayerIsUnpackedByAProcessOfItsOwn(t *testing.T) {
	suid := layertest.File("bin/su", "x")
	suid.Mode, suid.Uid = 0o4755, 7
	root, info, err := run(t, layertest.Archive(t, layertest.Dir("bin/"), suid, layertest.File("gone/.wh.x", ""), layertest.File("new/.wh..wh..opq", "")), Limits{Bytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(filepath.Join(root, "bin/su")); err != nil || st.Mode() != os.ModeSetuid|0o755 || info.Size != 1 {
		t.Errorf("%v, %v, %+v", st, err, info)
	}
}

// deep is an archive of entries below a path of many folders, each with a first folder of its own.
func deep(t *testing.T, entries, folders int) []byte {
	items := make([]layertest.Item, 0, entries)
	for i := range entries {
		items = append(items, layertest.File(fmt.Sprintf("%d/%sf", i, strings.Repeat("d/", folders)), ""))
	}
	return layertest.Archive(t, items...)
}

func TestFinding6AHostileLayerEndsWithAnErrorAndNotWithTheAgent(t *testing.T) {
	wide := make([]layertest.Item, 0, maxImplied+1)
	for i := range maxImplied + 1 {
		wide = append(wide, layertest.File(fmt.Sprintf("%x/f", i), ""))
	}
	long := strings.Repeat("x", 250) + "/"
	var names []layertest.Item
	for i := range maxHeld / 3700 {
		names = append(names, layertest.Dir(fmt.Sprintf("%s%d", strings.Repeat(long, 15), i)))
	}
	for name, c := range map[string]struct {
		blob   []byte
		limits Limits
		want   string
	}{
		"folders in folders":                {deep(t, 24, 2000), Limits{Bytes: 1 << 20}, "more than 256 folders deep"},
		"a name longer than the kernel's":   {layertest.Archive(t, layertest.File(strings.Repeat(long, 17)+"f", "")), Limits{Bytes: 1 << 20}, "longer than 4096 bytes"},
		"folders that it does not describe": {layertest.Archive(t, wide...), Limits{Bytes: 1 << 20}, "folders that it does not describe"},
		"names that fill the memory":        {layertest.Archive(t, names...), Limits{Bytes: 1 << 20}, "names of the layer's folders"},
		"more bytes than a layer may have":  {layertest.Archive(t, layertest.File("a", strings.Repeat("x", 2000))), Limits{Bytes: 1000}, "larger than 1000 bytes"},
		"a size that overflows":             {huge(t), Limits{Bytes: 1000}, "larger than 1000 bytes"},
		"more than the disk has":            {layertest.Archive(t, layertest.File("a", "x")), Limits{Bytes: 1000, MinFree: 1 << 60}, "no space left for images"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := run(t, c.blob, c.limits)
			if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 1000 {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if errors.Is(err, ErrDiskFull) != (c.limits.MinFree > 0) {
				t.Errorf("a full disk: %v", err)
			}
		})
	}
}

// huge claims a size that no disk has.
func huge(t *testing.T) []byte {
	var buf bytes.Buffer
	h := tar.Header{Name: "a", Typeflag: tar.TypeReg, Size: 1<<63 - 1, Mode: 0o600}
	if err := tar.NewWriter(&buf).WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	return append(buf.Bytes(), make([]byte, 4096)...)
}

func TestFinding6TheProcessThatUnpacksCannotTakeTheNodesMemory(t *testing.T) {
	kittest.NeedRoot(t)
	_, err := Runner{"/proc/self/exe"}.Unpack(t.Context(), bytes.NewReader(nil), t.TempDir(), hog, Limits{})
	if err == nil || !strings.Contains(err.Error(), "takes more than 512 MiB of memory") {
		t.Errorf("got %v", err)
	}
}

func TestAnErrorOfTheRegistryIsToldAsItIs(t *testing.T) {
	kittest.NeedRoot(t)
	blob, broken := layertest.Archive(t, layertest.File("a", "x")), errors.New("the registry went away")
	_, err := Runner{"/proc/self/exe"}.Unpack(t.Context(), iotest.ErrReader(broken), t.TempDir(), digest(blob), Limits{Bytes: 1 << 20})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
