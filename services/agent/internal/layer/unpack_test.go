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
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI must run this as root")
		}
		t.Skip("needs root")
	}
}

type item struct {
	tar.Header
	data string
}

func dir(name string) item {
	return item{Header: tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}}
}
func file(name, data string) item {
	return item{Header: tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, data: data}
}
func symlink(name, target string) item {
	return item{Header: tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}}
}
func hardlink(name, target string) item {
	return item{Header: tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}}
}

func archive(t testing.TB, items ...item) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, i := range items {
		i.Size = int64(len(i.data))
		if i.ModTime.IsZero() {
			i.ModTime = time.Unix(1e9, 0)
		}
		if err := w.WriteHeader(&i.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(i.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestNoArchiveReachesOutsideItsFolder(t *testing.T) {
	needRoot(t)
	for name, items := range map[string][]item{
		"a name with ..":                            {file("../canary", "evil")},
		"a name with .. in the middle":              {dir("a/"), file("a/../../canary", "evil")},
		"an absolute name":                          {file("CANARY", "evil")},
		"through a symlink to ..":                   {symlink("up", ".."), file("up/canary", "evil")},
		"through an absolute symlink":               {symlink("abs", "OUTSIDE"), file("abs/canary", "evil")},
		"through a symlink of symlinks":             {symlink("a", "b"), symlink("b", "OUTSIDE"), file("a/canary", "evil")},
		"over a symlink to the canary":              {symlink("c", "CANARY"), file("c", "evil")},
		"a hard link to the canary":                 {hardlink("h", "CANARY"), file("h", "evil")},
		"a hard link with ..":                       {hardlink("h", "../canary"), file("h", "evil")},
		"a hard link through a symlink":             {symlink("out", "OUTSIDE"), hardlink("h", "out/canary"), file("h", "evil")},
		"a hard link to a symlink":                  {symlink("s", "CANARY"), hardlink("h", "s"), file("h", "evil")},
		"a whiteout through a symlink":              {symlink("out", "OUTSIDE"), file("out/.wh.canary", "")},
		"a whiteout of ..":                          {file(".wh...", "")},
		"an opaque marker through a symlink":        {symlink("out", "OUTSIDE"), file("out/.wh..wh..opq", "")},
		"a folder that becomes a symlink":           {dir("d/"), file("d/x", ""), symlink("d", "OUTSIDE"), file("d/canary", "evil")},
		"a folder entry over a symlink, then below": {symlink("d", "OUTSIDE"), dir("d/"), file("d/canary", "evil")},
		"modes through a symlink":                   {symlink("d", "OUTSIDE"), {Header: tar.Header{Name: "d", Typeflag: tar.TypeDir, Mode: 0o777}}},
		"the root as a symlink":                     {symlink(".", "OUTSIDE"), file("canary", "evil")},
		"through /proc":                             {symlink("p", "/proc/self/cwd"), file("p/canary", "evil")},
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
			_, err := unpack(bytes.NewReader(archive(t, items...)), filepath.Join(outside, "layer"), Limits{Bytes: 1 << 20})
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
	needRoot(t)
	root := filepath.Join(t.TempDir(), "layer")
	suid := file("bin/su", "x")
	suid.Mode, suid.Uid, suid.Gid = 0o4755, 7, 8
	old := dir("old/")
	old.ModTime = time.Unix(12345, 0)
	capable := file("bin/ping", "x")
	capable.PAXRecords = map[string]string{"SCHILY.xattr.user.note": "hi", "SCHILY.xattr.trusted.overlay.redirect": "/etc"}
	info, err := unpack(bytes.NewReader(archive(t,
		dir("bin/"), suid, capable, symlink("sh", "/bin/su"), hardlink("bin/su2", "bin/su"), old, file("old/f", "12345"),
		file("gone/.wh.secret", ""), file("hidden/.wh..wh..opq", ""), file("twice", "one"), file("twice", "two"),
		file("kept", "stays"), file(".wh.kept", ""), file("implied/deep/f", ""), file("/leading", "slash"),
		item{Header: tar.Header{Name: "fifo", Typeflag: tar.TypeFifo, Mode: 0o600}},
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
	needRoot(t)
	good := archive(t, file("a", "data"))
	sum := sha256.Sum256(good)
	want := hex.EncodeToString(sum[:])
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(good)
	_ = z.Close()
	uid := file("a", "")
	uid.Uid = 1 << 40
	for name, c := range map[string]struct {
		blob  []byte
		error string
	}{
		"plain and whole":    {good, ""},
		"zipped and whole":   {zipped.Bytes(), ""},
		"cut off":            {zipped.Bytes()[:zipped.Len()-20], "unexpected EOF"},
		"flipped bit":        {append(bytes.Clone(zipped.Bytes()[:30]), append([]byte{zipped.Bytes()[30] ^ 1}, zipped.Bytes()[31:]...)...), ""},
		"other content":      {archive(t, file("a", "DATA")), "wrong diff id"},
		"empty":              {nil, "too short"},
		"no tar":             {bytes.Repeat([]byte("x"), 2048), "corrupt tar"},
		"too large":          {archive(t, file("a", strings.Repeat("x", 2<<20))), "larger than"},
		"owner out of range": {archive(t, uid), "out of range"},
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

func FuzzUnpack(f *testing.F) {
	if os.Geteuid() != 0 {
		f.Skip("needs root")
	}
	f.Add(archive(f, dir("a/"), file("a/b", "x"), symlink("c", "../.."), file("c/d", "y"), hardlink("e", "a/b"), file("a/.wh.b", "")))
	f.Fuzz(func(t *testing.T, data []byte) {
		outside := t.TempDir()
		_, _ = unpack(bytes.NewReader(data), filepath.Join(outside, "layer"), Limits{Bytes: 1 << 20})
		if entries, _ := os.ReadDir(outside); len(entries) > 1 {
			t.Errorf("something was made outside: %v", entries)
		}
	})
}
