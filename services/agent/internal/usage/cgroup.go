package usage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"kubus.dev/services/agent/internal/cgroup"
)

// counters are one reading of a control group.
type counters struct {
	cpu    uint64 // nanoseconds of CPU time since the group was made
	memory uint64 // bytes of its working set
}

// reader reads control groups of both kinds below root. It is for one goroutine: its
// buffer is kept from one file to the next.
type reader struct {
	root string
	v2   bool
	buf  []byte
}

func newReader(root string, v2 bool) *reader {
	return &reader{root: root, v2: v2, buf: make([]byte, 16<<10)}
}

func hostReader() *reader { return newReader(cgroup.Root, cgroup.V2()) }

// group reads the group at a path; "/" is the machine.
func (r *reader) group(path string) (counters, error) {
	if r.v2 {
		return r.unified(filepath.Join(r.root, path))
	}
	var c counters
	var err error
	if c.cpu, err = r.number(filepath.Join(r.root, "cpuacct", path, "cpuacct.usage")); err != nil {
		return c, err
	}
	dir := filepath.Join(r.root, "memory", path)
	used, err := r.number(filepath.Join(dir, "memory.usage_in_bytes"))
	if err != nil {
		return c, err
	}
	idle, err := r.field(filepath.Join(dir, "memory.stat"), "total_inactive_file")
	c.memory = used - min(used, idle)
	return c, err
}

// unified reads a group of cgroup v2. The root has no memory.current; its statistics say
// what processes and files take.
func (r *reader) unified(dir string) (counters, error) {
	var c counters
	micro, err := r.field(filepath.Join(dir, "cpu.stat"), "usage_usec")
	if err != nil {
		return c, err
	}
	c.cpu = micro * 1000
	used, err := r.number(filepath.Join(dir, "memory.current"))
	stat := filepath.Join(dir, "memory.stat")
	if errors.Is(err, unix.ENOENT) {
		var anon, file uint64
		if anon, err = r.field(stat, "anon"); err == nil {
			file, err = r.field(stat, "file")
		}
		used = anon + file
	}
	if err != nil {
		return c, err
	}
	idle, err := r.field(stat, "inactive_file")
	c.memory = used - min(used, idle)
	return c, err
}

// number reads a file that holds one.
func (r *reader) number(path string) (uint64, error) {
	data, err := r.file(path)
	if err != nil {
		return 0, err
	}
	return parse(path, bytes.TrimSpace(data))
}

// field reads the number behind a name, in a file of such lines.
func (r *reader) field(path, name string) (uint64, error) {
	data, err := r.file(path)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(data) {
		key, value, ok := bytes.Cut(line, []byte(" "))
		if ok && string(key) == name {
			return parse(path, bytes.TrimSpace(value))
		}
	}
	return 0, fmt.Errorf("%s has no %s", path, name)
}

func parse(path string, text []byte) (uint64, error) {
	n, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

// file reads one into the buffer: what it gave before is overwritten.
func (r *reader) file(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer func() { _ = unix.Close(fd) }()
	for n := 0; ; {
		if n == len(r.buf) {
			return nil, fmt.Errorf("%s: %w", path, io.ErrShortBuffer)
		}
		got, err := unix.Read(fd, r.buf[n:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, fmt.Errorf("%s: %w", path, err)
		case got == 0:
			return r.buf[:n], nil
		}
		n += got
	}
}
