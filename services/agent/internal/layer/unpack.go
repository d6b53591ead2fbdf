// Package layer unpacks one layer of an image into a folder.
//
// Start with Runner, which does it in a process of its own; Main is that process, confined before it reads a byte.
//
// Promises: no name and no link of an archive leads out of the folder; what a layer may cost in memory, disk, files and
// depth is bounded by Limits and by the kernel, so that a hostile one ends with an error and never with the agent. The
// package imports little, since the shim's program holds it.
package layer

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// Info is what is kept about a layer beside its files.
type Info struct {
	DiffID string `json:"diffID"`
	Size   int64  `json:"size"` // bytes of file contents
	// Implied lists folders that the layer did not describe, sorted; an image shows them as the lower layers have them.
	Implied []string `json:"implied,omitempty"`
}

const (
	whiteoutPrefix = ".wh."
	opaqueMarker   = ".wh..wh..opq"
	opaqueXattr    = "trusted.overlay.opaque"
)

// unpackBlob unpacks a layer, compressed or not, into dir, which it makes, and verifies the SHA-256 of the tar, in hex.
func unpackBlob(blob io.Reader, dir, want string, limits Limits) (*Info, error) {
	in := bufio.NewReaderSize(blob, 256<<10)
	plain, err := decompress(in)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	sum := sha256.New()
	tee := io.TeeReader(plain, sum)
	info, err := unpack(tee, dir, limits)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, tee); err != nil { // what follows the archive's end counts too
		return nil, err
	}
	if _, err := io.Copy(io.Discard, in); err != nil { // lets the blob's own digest be checked
		return nil, err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want {
		return nil, fmt.Errorf("wrong diff id calculated on extraction %q", "sha256:"+got)
	}
	info.DiffID = "sha256:" + want
	return info, nil
}

func decompress(in *bufio.Reader) (io.ReadCloser, error) {
	magic, err := in.Peek(4)
	if err != nil && len(magic) < 2 {
		return nil, fmt.Errorf("layer is too short: %w", err)
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(in)
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(in), nil
}

// unpacker writes a tar's entries below one folder. Every path is resolved by the kernel inside that folder
// (openat2, RESOLVE_IN_ROOT), so that no name and no link of the archive leads out of it.
type unpacker struct {
	root     int // descriptor of the folder
	info     *Info
	limits   Limits
	entries  int
	written  int64 // bytes since the disk was looked at
	held     int64 // bytes of names in the maps below
	dirTimes map[string]time.Time
	implied  map[string]bool
	parent   int // the last entry's folder, -1 for none
	parentOf string
	buf      []byte
}

func unpack(in io.Reader, dir string, limits Limits) (_ *Info, err error) {
	if err := unix.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	u := &unpacker{root: root, info: &Info{}, limits: limits, dirTimes: map[string]time.Time{},
		implied: map[string]bool{}, parent: -1, buf: make([]byte, 128<<10)}
	defer u.forgetParent()
	archive := tar.NewReader(in)
	if err := u.checkDisk(); err != nil {
		return nil, err
	}
	for {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("corrupt tar: %w", err)
		}
		if err := u.count(); err != nil {
			return nil, err
		}
		if err := u.entry(header, archive); err != nil {
			return nil, fmt.Errorf("%q: %w", shorten(header.Name), err)
		}
	}
	if err := u.setDirTimes(); err != nil {
		return nil, err
	}
	for p := range u.implied {
		if fd, err := openIn(u.root, p, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW); err == nil { // it may have gone again
			unix.Close(fd)
			u.info.Implied = append(u.info.Implied, p)
		}
	}
	slices.Sort(u.info.Implied)
	return u.info, nil
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := cleanName(h.Name)
	if err == nil {
		err = checkName(name)
	}
	if err != nil {
		return err
	}
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) >= math.MaxUint32 || int64(h.Gid) >= math.MaxUint32 {
		return fmt.Errorf("owner %d:%d is out of range", h.Uid, h.Gid)
	}
	if name == "" { // the root itself
		if h.Typeflag != tar.TypeDir {
			return errors.New("the root is not a folder")
		}
		return u.describe(u.root, ".", h, "")
	}
	dir, base := path.Split(name)
	dir = strings.TrimSuffix(dir, "/")
	parent, err := u.folder(dir)
	if err != nil {
		return err
	}
	if strings.HasPrefix(base, whiteoutPrefix) {
		return u.whiteout(parent, dir, base)
	}
	return u.create(parent, base, name, h, content)
}

// cleanName makes a name relative. Names that climb are refused rather than bent.
func cleanName(name string) (string, error) {
	if strings.ContainsRune(name, 0) {
		return "", errors.New("name has a zero byte")
	}
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "", errors.New("name leads out of the layer")
	}
	return strings.TrimPrefix(path.Clean("/"+name), "/"), nil
}

// folder gives a descriptor of a folder of the layer, making what is missing; it belongs to the unpacker.
func (u *unpacker) folder(dir string) (int, error) {
	if u.parent >= 0 && u.parentOf == dir {
		return u.parent, nil
	}
	fd, err := u.open(dir)
	if errors.Is(err, unix.ENOENT) {
		if err = u.makeFolders(dir); err == nil {
			fd, err = u.open(dir)
		}
	}
	if err != nil {
		return -1, fmt.Errorf("opening folder: %w", err)
	}
	u.forgetParent()
	u.parent, u.parentOf = fd, dir
	return fd, nil
}

func (u *unpacker) open(dir string) (int, error) {
	return openIn(u.root, dir, unix.O_PATH|unix.O_DIRECTORY)
}

// openIn opens a path as if root were /.
func openIn(root int, name string, flags uint64) (int, error) {
	if name == "" {
		name = "."
	}
	for {
		fd, err := unix.Openat2(root, name, &unix.OpenHow{Flags: flags | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV})
		if err != unix.EAGAIN && err != unix.EINTR { // EAGAIN: a rename elsewhere raced with ".."
			return fd, err
		}
	}
}

func (u *unpacker) makeFolders(dir string) error {
	at := ""
	for part := range strings.SplitSeq(dir, "/") {
		above, err := u.open(at)
		if err != nil {
			return err
		}
		err = unix.Mkdirat(above, part, 0o755)
		unix.Close(above)
		at = path.Join(at, part)
		switch {
		case err == nil:
			if err := u.imply(at); err != nil {
				return err
			}
		case err != unix.EEXIST:
			return err
		}
	}
	return nil
}

func (u *unpacker) forgetParent() {
	if u.parent >= 0 {
		unix.Close(u.parent)
		u.parent = -1
	}
}

// whiteout hides what lower layers have; files of this very layer stay.
func (u *unpacker) whiteout(parent int, dir, base string) error {
	if base == opaqueMarker {
		return setOpaque(parent, ".")
	}
	if strings.HasPrefix(base, ".wh..wh.") { // aufs' own bookkeeping
		return nil
	}
	hidden := strings.TrimPrefix(base, whiteoutPrefix)
	if hidden == "" || hidden == "." || hidden == ".." {
		return errors.New("whiteout of nothing")
	}
	var st unix.Stat_t
	err := unix.Fstatat(parent, hidden, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return unix.Mknodat(parent, hidden, unix.S_IFCHR, 0)
	}
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		delete(u.implied, path.Join(dir, hidden))
		return setOpaque(parent, hidden)
	}
	return err
}

// setOpaque needs no /proc, which is out of reach.
func setOpaque(parent int, name string) error {
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fsetxattr(fd, opaqueXattr, []byte("y"), 0)
}

// create makes one file, folder, link or device in parent.
func (u *unpacker) create(parent int, base, name string, h *tar.Header, content io.Reader) error {
	opaque, err := u.makeRoom(parent, base, name, h)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := unix.Mkdirat(parent, base, 0o700); err != nil && err != unix.EEXIST {
			return err
		}
		delete(u.implied, name)
	case tar.TypeReg:
		if err := u.file(parent, base, h, content); err != nil {
			return err
		}
	case tar.TypeSymlink:
		if err := unix.Symlinkat(h.Linkname, parent, base); err != nil {
			return err
		}
	case tar.TypeLink:
		return u.link(parent, base, h.Linkname)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		kind := map[byte]uint32{tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK, tar.TypeFifo: unix.S_IFIFO}[h.Typeflag]
		if h.Devmajor < 0 || h.Devminor < 0 || h.Devmajor > math.MaxUint32 || h.Devminor > math.MaxUint32 {
			return errors.New("device number is out of range")
		}
		dev := unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
		if err := unix.Mknodat(parent, base, kind|0o600, int(dev)); err != nil {
			return err
		}
	default:
		return fmt.Errorf("entry of unknown type %q", h.Typeflag)
	}
	if err := u.describe(parent, base, h, name); err != nil {
		return err
	}
	if opaque {
		return setOpaque(parent, base)
	}
	return nil
}

// makeRoom removes what an earlier entry made under the same name, unless both are folders. A folder in place of a
// whiteout must be opaque.
func (u *unpacker) makeRoom(parent int, base, name string, h *tar.Header) (opaque bool, err error) {
	var st unix.Stat_t
	err = unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if isDir && h.Typeflag == tar.TypeDir {
		return false, nil
	}
	u.forgetParentBelow(name)
	if err := removeAt(parent, base, isDir); err != nil {
		return false, err
	}
	whiteout := st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
	return whiteout && h.Typeflag == tar.TypeDir, nil
}

// forgetParentBelow is for a name that is about to go. Descriptors of other folders stay right.
func (u *unpacker) forgetParentBelow(name string) {
	if u.parentOf == name || strings.HasPrefix(u.parentOf, name+"/") {
		u.forgetParent()
	}
}

func removeAt(parent int, base string, isDir bool) error {
	if !isDir {
		return unix.Unlinkat(parent, base, 0)
	}
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	names, err := readNames(fd)
	if err != nil {
		return err
	}
	for _, n := range names {
		var st unix.Stat_t
		if err := unix.Fstatat(fd, n, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if err := removeAt(fd, n, st.Mode&unix.S_IFMT == unix.S_IFDIR); err != nil {
			return err
		}
	}
	return unix.Unlinkat(parent, base, unix.AT_REMOVEDIR)
}

func readNames(fd int) ([]string, error) {
	var names []string
	buf := make([]byte, 16<<10)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if err != nil || n <= 0 {
			return names, err
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

func (u *unpacker) file(parent int, base string, h *tar.Header, content io.Reader) error {
	if h.Size < 0 || h.Size > u.limits.Bytes-u.info.Size {
		return fmt.Errorf("layer is larger than %d bytes", u.limits.Bytes)
	}
	fd, err := unix.Openat(parent, base, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	n, err := io.CopyBuffer(&fileWriter{u, fd}, content, u.buf)
	u.info.Size += n
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	return err
}

// fileWriter writes to a descriptor without the poller's bookkeeping, as layers have many small files, and looks at the
// disk from time to time.
type fileWriter struct {
	u  *unpacker
	fd int
}

func (w *fileWriter) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Write(w.fd, p[done:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, err
		}
		done += n
	}
	if w.u.written += int64(done); w.u.written >= diskStep {
		return done, w.u.checkDisk()
	}
	return done, nil
}

func (u *unpacker) link(parent int, base, target string) error {
	name, err := cleanName(target)
	if err != nil {
		return fmt.Errorf("link target %q: %w", target, err)
	}
	dir, file := path.Split(name)
	from, err := u.open(strings.TrimSuffix(dir, "/"))
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	defer unix.Close(from)
	if err := unix.Linkat(from, file, parent, base, 0); err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	return nil
}

// describe sets owner, mode, attributes and time of what was made; times of folders come at the end.
func (u *unpacker) describe(parent int, base string, h *tar.Header, name string) error {
	if err := unix.Fchownat(parent, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := unix.Fchmodat(parent, base, uint32(h.Mode)&0o7777, 0); err != nil {
			return err
		}
	}
	if h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeDir {
		if err := setXattrs(parent, base, h.PAXRecords); err != nil {
			return err
		}
	}
	if h.Typeflag == tar.TypeDir {
		return u.remember(name, h.ModTime)
	}
	return setTime(parent, base, h.ModTime)
}

func setTime(parent int, base string, t time.Time) error {
	ts, err := unix.TimeToTimespec(t)
	if err != nil || t.Before(time.Unix(0, 0)) {
		ts = unix.Timespec{}
	}
	return unix.UtimesNanoAt(parent, base, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// setXattrs sets the attributes that an image may bring: file capabilities and user attributes. Overlayfs' own
// would let a layer lie about its lower ones.
func setXattrs(parent int, base string, records map[string]string) error {
	const prefix = "SCHILY.xattr."
	for key, value := range records {
		attr, ok := strings.CutPrefix(key, prefix)
		if !ok || attr != "security.capability" && !strings.HasPrefix(attr, "user.") {
			continue
		}
		fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = unix.Fsetxattr(fd, attr, []byte(value), 0)
		unix.Close(fd)
		if err != nil && err != unix.ENOTSUP && err != unix.EPERM && err != unix.ENOENT {
			return fmt.Errorf("attribute %s: %w", attr, err)
		}
	}
	return nil
}

func (u *unpacker) setDirTimes() error {
	for name, t := range u.dirTimes {
		fd, err := u.open(name)
		if err != nil {
			if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
				continue
			}
			return err
		}
		err = setTime(fd, ".", t)
		unix.Close(fd)
		if err != nil {
			return err
		}
	}
	return nil
}
