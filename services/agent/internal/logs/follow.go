package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// follow copies a growing file until the container has ended and all was copied,
// or ctx ends. When the name comes to mean another file, it goes on with the one
// that was written after ours.
func follow(ctx context.Context, path string, f *os.File, ended <-chan struct{}, out *writer) error {
	w, err := watch(path)
	if err != nil {
		return err
	}
	defer w.close()
	in := &tailer{f: f}
	defer func() { in.close() }()
	for {
		over := closed(ended)
		if err := in.drain(out); err != nil {
			return err
		}
		rotated, err := in.rotated(path)
		if err != nil {
			return err
		}
		if rotated != nil {
			if err := in.drain(out); err != nil { // what was written before the rename
				return err
			}
			in.reopen(rotated)
			continue
		}
		if over {
			return in.rest(out)
		}
		if err := out.flush(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
		case <-w.changed:
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// tailer reads whole lines of a growing file and keeps the unfinished one.
type tailer struct {
	f       *os.File
	ours    bool // opened by us, after a rotation
	pending []byte
	buf     [32 << 10]byte
}

func (t *tailer) close() {
	if t.ours {
		_ = t.f.Close() // only read
	}
}

func (t *tailer) reopen(f *os.File) {
	t.close()
	t.f, t.ours = f, true
}

func (t *tailer) drain(out *writer) error {
	for {
		n, err := t.f.Read(t.buf[:])
		data := t.buf[:n]
		for len(data) > 0 {
			i := 0
			for i < len(data) && data[i] != '\n' {
				i++
			}
			if i == len(data) {
				t.pending = append(t.pending, data...)
				break
			}
			raw := data[:i+1]
			if len(t.pending) > 0 {
				t.pending = append(t.pending, raw...)
				raw = t.pending
			}
			if err := out.line(raw); err != nil {
				return err
			}
			t.pending = t.pending[:0]
			data = data[i+1:]
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the log: %w", err)
		}
	}
}

func (t *tailer) rest(out *writer) error {
	if len(t.pending) == 0 {
		return nil
	}
	return out.line(t.pending)
}

// rotated gives the file that the path names now, when it is another one.
func (t *tailer) rotated(path string) (*os.File, error) {
	now, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // between the rename and the new file
	}
	if err != nil {
		return nil, fmt.Errorf("following the log: %w", err)
	}
	ours, err := t.f.Stat()
	if err != nil {
		return nil, fmt.Errorf("following the log: %w", err)
	}
	if os.SameFile(now, ours) {
		return nil, nil
	}
	next, err := successor(path, ours)
	if err != nil {
		return nil, fmt.Errorf("following the log: %w", err)
	}
	f, err := os.Open(next)
	if err != nil {
		return nil, nil // removed meanwhile; it will be looked at again with the next change
	}
	return f, nil
}

// successor names the file that was written after ours. A slow reader may be
// several rotations behind; what was removed before it came there is lost.
func successor(path string, ours os.FileInfo) (string, error) {
	folder, base := filepath.Split(path)
	entries, err := os.ReadDir(folder) // by name, so rotated files by age
	if err != nil {
		return "", err
	}
	next := ""
	for _, e := range slices.Backward(entries) {
		if !strings.HasPrefix(e.Name(), base+".") {
			continue
		}
		if info, err := e.Info(); err == nil && os.SameFile(info, ours) {
			break
		}
		next = folder + e.Name()
	}
	if next == "" {
		return path, nil
	}
	return next, nil
}

// watcher tells that something happened to the log; several changes may be one signal.
type watcher struct {
	changed chan struct{}
	file    *os.File
	done    chan struct{}
}

func watch(path string) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("following the log: %w", err)
	}
	w := &watcher{changed: make(chan struct{}, 1), file: os.NewFile(uintptr(fd), "inotify"), done: make(chan struct{})}
	// The folder tells of writes to the file as well as of its rotation.
	_, err = unix.InotifyAddWatch(fd, filepath.Dir(path), unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_DELETE)
	if err != nil {
		_ = w.file.Close()
		return nil, fmt.Errorf("following the log: %w", err)
	}
	go w.run()
	return w, nil
}

func (w *watcher) run() {
	defer close(w.done)
	buf := make([]byte, 4096)
	for {
		if _, err := w.file.Read(buf); err != nil {
			return
		}
		select {
		case w.changed <- struct{}{}:
		default:
		}
	}
}

func (w *watcher) close() {
	_ = w.file.SetReadDeadline(time.Now())
	_ = w.file.Close() // only read
	<-w.done
}
