package folder

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"kubus.dev/services/agent/internal/tree"
	"kubus.dev/services/kit/file"
)

const (
	sizeFile   = "size"
	dataFolder = "data"
)

// Store is safe for concurrent use; one agent has the folder for itself.
type Store struct {
	dir string
	// space tells how many bytes the file system has, and has free for others than root.
	space func(dir string) (total, free int64, err error)
	mu    sync.Mutex // one volume is made or removed at a time
}

// Open makes the folder that volumes are in.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening the folder of volumes: %w", err)
	}
	return &Store{dir: dir, space: space}, nil
}

func space(dir string) (total, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("asking for free space: %w", err)
	}
	return int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize, nil
}

// Make makes a volume of so many bytes, or lets it grow to them, and gives its path.
// It never shrinks one. The error is a sentence for the claim's event.
func (s *Store) Make(name string, size int64) (string, error) {
	if err := valid(name); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	promised, has, err := s.promised(name)
	if err != nil {
		return "", err
	}
	total, free, err := s.space(s.dir)
	switch {
	case err != nil:
		return "", err
	case size <= has: // it is there
	case size-has > free:
		return "", fmt.Errorf("the node has %s free, %s more are asked for", amount(free), amount(size-has))
	case promised+size > total:
		return "", fmt.Errorf("the node's disk holds %s, of which %s are promised to other volumes; %s are asked for", amount(total), amount(promised), amount(size))
	}
	data := filepath.Join(s.dir, name, dataFolder)
	if size > has || has == 0 {
		if err := s.note(name, size); err != nil {
			return "", err
		}
	}
	err = os.Mkdir(data, 0o777)
	switch {
	case errors.Is(err, fs.ErrExist):
		return data, isFolder(data)
	case err != nil:
		return "", fmt.Errorf("making the volume's folder: %w", err)
	}
	if err := os.Chmod(data, 0o777); err != nil { // whatever our umask is
		return "", fmt.Errorf("making the volume's folder: %w", err)
	}
	return data, errors.Join(syncNames(filepath.Dir(data)), syncNames(s.dir))
}

// Remove removes a volume with all that is in it; one that is not there is fine.
func (s *Store) Remove(name string) error {
	if err := valid(name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := tree.Remove(filepath.Join(s.dir, name)); err != nil {
		return fmt.Errorf("removing the volume's folder: %w", err)
	}
	return syncNames(s.dir)
}

// promised sums the sizes of all volumes but one, and gives that one's, 0 when it is not there.
func (s *Store) promised(name string) (others, has int64, err error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return 0, 0, fmt.Errorf("reading the folder of volumes: %w", err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(s.dir, e.Name(), sizeFile))
		if errors.Is(err, fs.ErrNotExist) {
			continue // half made or half removed
		}
		if err != nil {
			return 0, 0, fmt.Errorf("reading a volume's size: %w", err)
		}
		size, err := strconv.ParseInt(string(bytes.TrimSpace(data)), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("reading the size of volume %s: %w", e.Name(), err)
		}
		if e.Name() == name {
			has = size
		} else {
			others += size
		}
	}
	return others, has, nil
}

// note writes a volume's size, all or nothing.
func (s *Store) note(name string, size int64) error {
	top := filepath.Join(s.dir, name)
	if err := os.Mkdir(top, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making the volume's folder: %w", err)
	}
	if err := file.Replace(filepath.Join(top, sizeFile), []byte(strconv.FormatInt(size, 10)+"\n"), 0o600); err != nil {
		return fmt.Errorf("noting the volume's size: %w", err)
	}
	return nil
}

// valid refuses names that are none of a PersistentVolume, and so could lead elsewhere.
func valid(name string) error {
	if msgs := validation.IsDNS1123Subdomain(name); len(msgs) > 0 {
		return fmt.Errorf("%q is no name of a volume: %s", name, strings.Join(msgs, ", "))
	}
	return nil
}

func isFolder(path string) error {
	info, err := os.Lstat(path)
	if err == nil && !info.IsDir() {
		err = errors.New("something else lies there")
	}
	if err != nil {
		return fmt.Errorf("making the volume's folder: %w", err)
	}
	return nil
}

// syncNames brings the names in a folder to the disk: a volume that was announced must not
// be gone after a power cut.
func syncNames(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing the volume's folder: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("syncing the volume's folder: %w", err)
	}
	return nil
}

// amount is rounded down to what people can read.
func amount(n int64) string {
	unit := int64(1) << 30
	if n < 10*unit {
		unit = 1 << 20
	}
	return resource.NewQuantity(n/unit*unit, resource.BinarySI).String()
}
