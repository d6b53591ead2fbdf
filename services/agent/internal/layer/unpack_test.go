package layer

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kubus.dev/services/agent/internal/layertest"
	"kubus.dev/services/kit/kittest"
)

func TestNoArchiveReachesOutsideItsFolder(t *testing.T) {
	kittest.NeedRoot(t)
	for name, items := range map[string][]layertest.Item{
		"a name with ..":                            {layertest.File("../canary", "evil")},
		"a name with .. in the middle":              {layertest.Dir("a/"), layertest.File("a/../../canary", "evil")},
		"an absolute name":                          {layertest.File("CANARY", "evil")},
		"through a symlink to ..":                   {layertest.Symlink("up", ".."), layertest.File("up/canary", "evil")},
		"through an absolute symlink":               {layertest.Symlink("abs", "OUTSIDE"), layertest.File("abs/canary", "evil")},
		"through a symlink of symlinks":             {layertest.Symlink("a", "b"), layertest.Symlink("b", "OUTSIDE"), layertest.File("a/canary", "evil")},
		"over a symlink to the canary":              {layertest.Symlink("c", "CANARY"), layertest.File("c", "evil")},
		"a hard link to the canary":                 {layertest.Hardlink("h", "CANARY"), layertest.File("h", "evil")},
		"a hard link with ..":                       {layertest.Hardlink("h", "../canary"), layertest.File("h", "evil")},
		"a hard link through a symlink":             {layertest.Symlink("out", "OUTSIDE"), layertest.Hardlink("h", "out/canary"), layertest.File("h", "evil")},
		"a hard link to a symlink":                  {layertest.Symlink("s", "CANARY"), layertest.Hardlink("h", "s"), layertest.File("h", "evil")},
		"a whiteout through a symlink":              {layertest.Symlink("out", "OUTSIDE"), layertest.File("out/.wh.canary", "")},
		"a whiteout of ..":                          {layertest.File(".wh...", "")},
		"an opaque marker through a symlink":        {layertest.Symlink("out", "OUTSIDE"), layertest.File("out/.wh..wh..opq", "")},
		"a folder that becomes a symlink":           {layertest.Dir("d/"), layertest.File("d/x", ""), layertest.Symlink("d", "OUTSIDE"), layertest.File("d/canary", "evil")},
		"a folder entry over a symlink, then below": {layertest.Symlink("d", "OUTSIDE"), layertest.Dir("d/"), layertest.File("d/canary", "evil")},
		"modes through a symlink":                   {layertest.Symlink("d", "OUTSIDE"), {Header: tar.Header{Name: "d", Typeflag: tar.TypeDir, Mode: 0o777}}},
		"the root as a symlink":                     {layertest.Symlink(".", "OUTSIDE"), layertest.File("canary", "evil")},
		"through /proc":                             {layertest.Symlink("p", "/proc/self/cwd"), layertest.File("p/canary", "evil")},
	} {
		t.Run(name, func(t *testing.T) {
			outside := t.TempDir()
			canary := filepath.Join(outside, "canary")
			if err := os.WriteFile(canary, []byte("alive"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(outside, 0o711); err != nil {
				t.Fatal(err)
			}
			for i := range items {
				r := strings.NewReplacer("OUTSIDE", outside, "CANARY", canary)
				items[i].Name, items[i].Linkname = r.Replace(items[i].Name), r.Replace(items[i].Linkname)
			}
			_, err := unpack(bytes.NewReader(layertest.Archive(t, items...)), filepath.Join(outside, "layer"), Limits{Bytes: 1 << 20})
			t.Logf("unpack: %v", err)
			data, readErr := os.ReadFile(canary)
			if readErr != nil || string(data) != "alive" {
				t.Errorf("canary: %q, %v", data, readErr)
			}
			var st unix.Stat_t
			if err := unix.Stat(outside, &st); err != nil || st.Mode&0o777 != 0o711 {
				t.Errorf("the folder outside has mode %o", st.Mode)
			}
			entries, _ := os.ReadDir(outside)
			for _, e := range entries {
				if e.Name() != "canary" && e.Name() != "layer" {
					t.Errorf("%s was made outside", e.Name())
				}
			}
		})
	}
}

func TestLayersUnpackAsDockerDoes(t *testing.T) {
	kittest.NeedRoot(t)
	root := filepath.Join(t.TempDir(), "layer")
	suid := layertest.File("bin/su", "x")
	suid.Mode, suid.Uid, suid.Gid = 0o4755, 7, 8
	old := layertest.Dir("old/")
	old.ModTime = time.Unix(12345, 0)
	capable := layertest.File("bin/ping", "x")
	capable.PAXRecords = map[string]string{"SCHILY.xattr.user.note": "hi", "SCHILY.xattr.trusted.overlay.redirect": "/etc"}
	info, err := unpack(bytes.NewReader(layertest.Archive(t,
		layertest.Dir("bin/"), suid, capable, layertest.Symlink("sh", "/bin/su"), layertest.Hardlink("bin/su2", "bin/su"), old, layertest.File("old/f", "12345"),
		layertest.File("gone/.wh.secret", ""), layertest.File("hidden/.wh..wh..opq", ""), layertest.File("twice", "one"), layertest.File("twice", "two"),
		layertest.File("kept", "stays"), layertest.File(".wh.kept", ""), layertest.File("implied/deep/f", ""), layertest.File("/leading", "slash"),
		layertest.Item{Header: tar.Header{Name: "fifo", Typeflag: tar.TypeFifo, Mode: 0o600}},
	)), root, Limits{Bytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	stat := func(name string) (st unix.Stat_t) {
		if err := unix.Lstat(filepath.Join(root, name), &st); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return st
	}
	if st := stat("bin/su"); st.Mode&0o7777 != 0o4755 || st.Uid != 7 || st.Gid != 8 || st.Nlink != 2 || st.Mtim.Sec != 1e9 {
		t.Errorf("bin/su: %+v", st)
	}
	if st := stat("old"); st.Mtim.Sec != 12345 {
		t.Errorf("folder's time %d", st.Mtim.Sec)
	}
	if st := stat("gone/secret"); st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 {
		t.Errorf("whiteout: %+v", st)
	}
	var buf [8]byte
	if n, err := unix.Lgetxattr(filepath.Join(root, "hidden"), opaqueXattr, buf[:]); err != nil || string(buf[:n]) != "y" {
		t.Errorf("opaque: %q, %v", buf[:n], err)
	}
	if n, err := unix.Lgetxattr(filepath.Join(root, "bin/ping"), "user.note", buf[:]); err == nil && string(buf[:n]) != "hi" {
		t.Errorf("attribute: %q", buf[:n])
	}
	if _, err := unix.Lgetxattr(filepath.Join(root, "bin/ping"), "trusted.overlay.redirect", buf[:]); err == nil {
		t.Error("an image set an attribute of overlayfs")
	}
	for name, want := range map[string]string{"twice": "two", "kept": "stays", "leading": "slash"} {
		if data, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(data) != want {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	if got := strings.Join(info.Implied, " "); got != "gone hidden implied implied/deep" {
		t.Errorf("implied folders: %s", got)
	}
}

func TestBadLayersAreRefused(t *testing.T) {
	kittest.NeedRoot(t)
	good := layertest.Archive(t, layertest.File("a", "data"))
	sum := sha256.Sum256(good)
	want := hex.EncodeToString(sum[:])
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(good)
	_ = z.Close()
	uid := layertest.File("a", "")
	uid.Uid = 1 << 40
	for name, c := range map[string]struct {
		blob  []byte
		error string
	}{
		"plain and whole":    {good, ""},
		"zipped and whole":   {zipped.Bytes(), ""},
		"cut off":            {zipped.Bytes()[:zipped.Len()-20], "unexpected EOF"},
		"flipped bit":        {append(bytes.Clone(zipped.Bytes()[:30]), append([]byte{zipped.Bytes()[30] ^ 1}, zipped.Bytes()[31:]...)...), ""},
		"other content":      {layertest.Archive(t, layertest.File("a", "DATA")), "wrong diff id"},
		"empty":              {nil, "too short"},
		"no tar":             {bytes.Repeat([]byte("x"), 2048), "corrupt tar"},
		"too large":          {layertest.Archive(t, layertest.File("a", strings.Repeat("x", 2<<20))), "larger than"},
		"owner out of range": {layertest.Archive(t, uid), "out of range"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := unpackBlob(bytes.NewReader(c.blob), filepath.Join(t.TempDir(), "l"), want, Limits{Bytes: 1 << 20})
			whole := strings.HasSuffix(name, "whole")
			if whole != (err == nil) || err != nil && !strings.Contains(err.Error(), c.error) {
				t.Errorf("got %v, want %q", err, c.error)
			}
		})
	}
}

// FuzzEntries is FuzzUnpack behind the checksums of an archive: a line is an entry, of its
// type, name, link and content with a tab between.
func FuzzEntries(f *testing.F) {
	kittest.NeedRoot(f)
	f.Add("5\ta\n0\ta/b\t\tx\n2\tc\t../..\n0\tc/canary\t\ty\n1\te\ta/b\n0\ta/.wh.b")
	f.Add("5\td\n2\td\t..\n5\td\n0\td/.wh.canary\n0\td/.wh..wh..opq\n1\th\td/canary\n0\th\t\tevil")
	f.Add("6\tp\n3\tq\n0\tp\n2\ta\tb\n2\tb\ta\n0\ta/x\n0\tx/y/z\n2\tx/y\t/\n1\tx/y/canary\tcanary")
	f.Fuzz(func(t *testing.T, text string) {
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		for line := range strings.SplitSeq(text, "\n") {
			fields := append(strings.SplitN(line, "\t", 4), "", "", "", "")
			if fields[0] == "" {
				continue
			}
			h := tar.Header{Typeflag: fields[0][0], Name: fields[1], Linkname: fields[2], Size: int64(len(fields[3])), Mode: 0o644, ModTime: time.Unix(1e9, 0)}
			if w.WriteHeader(&h) == nil {
				_, _ = w.Write([]byte(fields[3]))
			}
		}
		_ = w.Close()
		outside := t.TempDir()
		canary := filepath.Join(outside, "canary")
		if err := os.WriteFile(canary, []byte("sings"), 0o600); err != nil {
			t.Fatal(err)
		}
		var before, after unix.Stat_t
		if err := unix.Lstat(canary, &before); err != nil {
			t.Fatal(err)
		}
		_, _ = unpack(&archive, filepath.Join(outside, "layer"), Limits{Bytes: 1 << 20})
		err := unix.Lstat(canary, &after)
		after.Atim = before.Atim
		if data, _ := os.ReadFile(canary); err != nil || string(data) != "sings" || after != before {
			t.Errorf("the file outside was %+v and is %+v %q, %v", before, after, data, err)
		}
		if entries, _ := os.ReadDir(outside); len(entries) > 2 {
			t.Errorf("something was made outside: %v", entries)
		}
	})
}

func FuzzUnpack(f *testing.F) {
	kittest.NeedRoot(f)
	f.Add(layertest.Archive(f, layertest.Dir("a/"), layertest.File("a/b", "x"), layertest.Symlink("c", "../.."), layertest.File("c/d", "y"), layertest.Hardlink("e", "a/b"), layertest.File("a/.wh.b", "")))
	f.Fuzz(func(t *testing.T, data []byte) {
		outside := t.TempDir()
		_, _ = unpack(bytes.NewReader(data), filepath.Join(outside, "layer"), Limits{Bytes: 1 << 20})
		if entries, _ := os.ReadDir(outside); len(entries) > 1 {
			t.Errorf("something was made outside: %v", entries)
		}
	})
}
