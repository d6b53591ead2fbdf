package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"kubus.dev/services/agent/internal/layer"
)

// A layer may put files into a folder without describing the folder, which then has the owner and mode of the lower
// layers. Overlayfs shows the uppermost folder's, and the files of a layer belong to all images that have it: so an
// image whose folders would look wrong gets a layer of its own, above the others, with nothing but those folders.

// metadataLayer makes that layer for a stack of layers, lowest first, and gives its name; "" when none is needed.
func (s *Store) metadataLayer(ctx context.Context, diffs []v1.Hash) (string, error) {
	stack, err := s.openStack(diffs)
	if err != nil {
		return "", err
	}
	folders, err := stack.wrong()
	if err != nil || len(folders) == 0 {
		return "", err
	}
	name, digest := metadataName(diffs)
	return name, s.once(ctx, name, digest, func() error {
		return s.place(name, func(temp string) (*layer.Info, error) {
			if err := stack.draw(temp+"/fs", folders); err != nil {
				return nil, fmt.Errorf("giving folders the owners of lower layers: %w", err)
			}
			return &layer.Info{DiffID: digest}, nil
		})
	})
}

// metadataName is what the layer of a stack is called, and its digest: that of all the stack's digests.
func metadataName(diffs []v1.Hash) (name, digest string) {
	sum := sha256.New()
	for _, d := range diffs {
		fmt.Fprintln(sum, d)
	}
	hash := hex.EncodeToString(sum.Sum(nil))
	return "m" + hash[:31], "folders:" + hash
}

// maxLooks bounds the folders that are looked for, each in each layer.
const maxLooks = 1 << 20

// stack is the layers of an image, lowest first.
type stack struct {
	roots   []string
	implied []map[string]bool
}

func (s *Store) openStack(diffs []v1.Hash) (*stack, error) {
	st := &stack{}
	count := 0
	for _, d := range diffs {
		info, err := s.readLayer(layerName(d))
		if err != nil {
			return nil, err
		}
		set := make(map[string]bool, len(info.Implied))
		for _, dir := range info.Implied {
			set[dir] = true
		}
		count += len(set)
		st.roots, st.implied = append(st.roots, s.layerFS(layerName(d))), append(st.implied, set)
	}
	if count*len(diffs) > maxLooks {
		return nil, fmt.Errorf("the image's %d layers have %d folders that they do not describe, more than can be looked for", len(diffs), count)
	}
	return st, nil
}

// wrong lists the folders, sorted, that overlayfs would show with an owner or mode that nobody gave them.
func (st *stack) wrong() ([]string, error) {
	found := map[string]bool{}
	for i := range st.implied {
		for dir := range st.implied[i] {
			if found[dir] {
				continue
			}
			top, shown, right, err := st.look(dir)
			if err != nil {
				return nil, fmt.Errorf("folder %q: %w", dir, err)
			}
			if top == i && (shown.Uid != right.Uid || shown.Gid != right.Gid || shown.Mode != right.Mode) {
				found[dir] = true
			}
		}
	}
	folders := make([]string, 0, len(found))
	for dir := range found {
		folders = append(folders, dir)
	}
	slices.Sort(folders)
	return folders, nil
}

// look finds a folder in the stack as overlayfs merges it: the layer whose folder is uppermost, -1 for none, how that
// looks, and how the uppermost that is described does.
func (st *stack) look(dir string) (top int, shown, right unix.Stat_t, err error) {
	top = -1
	for i := len(st.roots) - 1; i >= 0; i-- {
		var stat unix.Stat_t
		there, hides, err := lookIn(st.roots[i], dir, &stat)
		if err != nil {
			return -1, shown, right, err
		}
		if there && top < 0 {
			top, shown, right = i, stat, stat
		}
		if there && !st.implied[i][dir] {
			return top, shown, stat, nil
		}
		if hides {
			break
		}
	}
	return top, shown, right, nil
}

// lookIn looks for a folder in one layer, following no links; hides says that nothing of lower layers shows there.
func lookIn(root, dir string, stat *unix.Stat_t) (there, hides bool, err error) {
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, false, err
	}
	defer func() { unix.Close(fd) }()
	for part := range strings.SplitSeq(dir, "/") {
		next, err := unix.Openat(fd, part, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		switch {
		case errors.Is(err, unix.ENOENT):
			return false, hides, nil
		case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP): // a file, a link or a whiteout
			return false, true, nil
		case err != nil:
			return false, false, err
		}
		unix.Close(fd)
		fd = next
		var value [1]byte
		if n, err := unix.Fgetxattr(fd, opaqueXattr, value[:]); err == nil && n == 1 && value[0] == 'y' {
			hides = true
		}
	}
	return true, hides, unix.Fstat(fd, stat)
}

const opaqueXattr = "trusted.overlay.opaque"

// draw makes the folders, and those above them, as they should look.
func (st *stack) draw(root string, folders []string) error {
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	all := map[string]bool{}
	for _, dir := range folders {
		for ; dir != "."; dir = path.Dir(dir) {
			all[dir] = true
		}
	}
	sorted := make([]string, 0, len(all))
	for dir := range all {
		sorted = append(sorted, dir)
	}
	slices.Sort(sorted) // parents first
	for _, dir := range append([]string{"."}, sorted...) {
		_, _, right, err := st.look(dir)
		if err != nil {
			return err
		}
		at := path.Join(root, dir) // all of it made here: there are no links
		if dir != "." {
			if err := os.Mkdir(at, 0o700); err != nil {
				return err
			}
		}
		if err := errors.Join(os.Chown(at, int(right.Uid), int(right.Gid)), unix.Chmod(at, right.Mode&0o7777)); err != nil {
			return err
		}
	}
	return nil
}
