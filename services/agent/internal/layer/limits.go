package layer

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Limits bound what one layer may become.
type Limits struct {
	Bytes int64 `json:"bytes"` // of file contents
	// MinFree is what must stay free of the file system, in bytes; 0 does not look.
	MinFree int64 `json:"minFree,omitempty"`
}

// What any layer may have. Real ones stay far below: what is held of a layer in memory grows with its folders' names.
const (
	maxEntries = 2 << 20
	maxDepth   = 256      // folders above an entry
	maxName    = 4096     // bytes of a path, as the kernel's
	maxHeld    = 32 << 20 // bytes of folders' names
	maxImplied = 1 << 16  // folders that are not described
	maxWindow  = 128 << 20
)

const (
	diskStep   = 16 << 20 // bytes written between two looks at the disk
	diskFiles  = 4096     // entries likewise
	inodeShare = 50       // one of so many inodes must stay free
)

// ErrDiskFull: unpacking further would leave too little of the disk to everybody else.
var ErrDiskFull = errors.New("no space left for images")

func checkName(name string) error {
	if len(name) > maxName {
		return fmt.Errorf("name is longer than %d bytes", maxName)
	}
	if strings.Count(name, "/") >= maxDepth {
		return fmt.Errorf("name is more than %d folders deep", maxDepth)
	}
	return nil
}

// count counts an entry.
func (u *unpacker) count() error {
	if u.entries++; u.entries > maxEntries {
		return fmt.Errorf("layer has more than %d entries", maxEntries)
	}
	if u.entries%diskFiles == 0 {
		return u.checkDisk()
	}
	return nil
}

func (u *unpacker) hold(name string) error {
	if u.held += int64(len(name)) + 64; u.held > maxHeld {
		return fmt.Errorf("the names of the layer's folders are longer than %d bytes", maxHeld)
	}
	return nil
}

// imply notes a folder that the layer has not described yet.
func (u *unpacker) imply(name string) error {
	if len(u.implied) >= maxImplied {
		return fmt.Errorf("layer has more than %d folders that it does not describe", maxImplied)
	}
	if err := u.hold(name); err != nil {
		return err
	}
	u.implied[name] = true
	return nil
}

// remember notes a folder's time, which is set at the end: what is put into it changes it.
func (u *unpacker) remember(name string, t time.Time) error {
	if _, known := u.dirTimes[name]; !known {
		if err := u.hold(name); err != nil {
			return err
		}
	}
	u.dirTimes[name] = t
	return nil
}

// checkDisk fails when the disk has too little room for others.
func (u *unpacker) checkDisk() error {
	u.written = 0
	if u.limits.MinFree <= 0 {
		return nil
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(u.root, &fs); err != nil {
		return err
	}
	if fs.Bavail > uint64(math.MaxInt64/fs.Bsize) {
		return nil
	}
	if free := int64(fs.Bavail) * fs.Bsize; free < u.limits.MinFree {
		return fmt.Errorf("%w: %d bytes are free, %d must stay so", ErrDiskFull, free, u.limits.MinFree)
	}
	if fs.Files > 0 && fs.Ffree < fs.Files/inodeShare {
		return fmt.Errorf("%w: %d of %d inodes are free", ErrDiskFull, fs.Ffree, fs.Files)
	}
	return nil
}

// shorten keeps a stranger's name from filling a message.
func shorten(name string) string {
	const most = 256
	if len(name) <= most {
		return name
	}
	return strings.ToValidUTF8(name[:most], "") + "…"
}
