package logs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Options are those of v1.PodLogOptions.
type Options struct {
	Follow     bool
	Timestamps bool
	Tail       int64 // lines from the end; negative: all
	Limit      int64 // bytes written at most; 0: no limit
	Since      time.Time
	// Ended is closed when the container writes no more; Follow ends after it.
	Ended <-chan struct{}
}

// errLimit ends the copy when the byte limit is reached.
var errLimit = errors.New("limit reached")

// Read copies a log to stdout and stderr; either may be nil to leave it out.
func Read(ctx context.Context, path string, o Options, stdout, stderr io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("failed to try resolving symlinks in path %q: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	start, err := tailOffset(f, o.Tail)
	if err != nil {
		return err
	}
	if _, err := f.Seek(start, io.SeekStart); err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	out := &writer{o: o, stdout: stdout, stderr: stderr, left: o.Limit}
	if o.Follow {
		err = follow(ctx, path, f, o.Ended, out)
	} else {
		err = copyLines(bufio.NewReaderSize(f, 64<<10), out)
	}
	if flushErr := out.flush(); flushErr != nil && !errors.Is(err, context.Canceled) {
		err = flushErr
	}
	if errors.Is(err, errLimit) || errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// copyLines writes all lines until the end of the file, an unfinished one included.
func copyLines(r *bufio.Reader, out *writer) error {
	var long []byte
	for {
		piece, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			long = append(long, piece...)
			continue
		}
		if len(long) > 0 {
			piece = append(long, piece...)
			long = nil
		}
		if len(piece) > 0 {
			if err := out.line(piece); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

type writer struct {
	o              Options
	stdout, stderr io.Writer
	left           int64
	within         [2]bool // the stream's last piece was partial: no new timestamp
	scratch        []byte
	to             io.Writer // of what is gathered
	gathered       []byte
}

// gather is how much text is written at once.
const gather = 32 << 10

func (w *writer) line(raw []byte) error {
	l, err := parse(raw)
	if err != nil {
		return nil // kubelet skips what it cannot read, too
	}
	if !w.o.Since.IsZero() && l.time().Before(w.o.Since) {
		return nil
	}
	to, i := w.stdout, 0
	if l.stream == "stderr" {
		to, i = w.stderr, 1
	}
	if to == nil {
		return nil
	}
	data := l.text
	if w.o.Timestamps && !w.within[i] {
		w.scratch = append(append(append(w.scratch[:0], l.stamp...), ' '), l.text...)
		data = w.scratch
	}
	w.within[i] = len(l.text) > 0 && l.text[len(l.text)-1] != '\n'
	if w.o.Limit > 0 {
		if int64(len(data)) >= w.left {
			return errors.Join(w.write(to, data[:w.left]), errLimit)
		}
		w.left -= int64(len(data))
	}
	return w.write(to, data)
}

// write gathers lines for one stream: whoever reads a log is far away.
func (w *writer) write(to io.Writer, data []byte) error {
	if to != w.to || len(w.gathered)+len(data) > gather {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.to = to
	w.gathered = append(w.gathered, data...)
	return nil
}

func (w *writer) flush() error {
	if len(w.gathered) == 0 {
		return nil
	}
	_, err := w.to.Write(w.gathered)
	w.gathered = w.gathered[:0]
	return err
}

// tailOffset finds where the last n lines begin.
func tailOffset(f *os.File, n int64) (int64, error) {
	if n < 0 {
		return 0, nil
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("reading the log: %w", err)
	}
	if n == 0 || size == 0 {
		return size, nil
	}
	const block = 64 << 10
	buf := make([]byte, block)
	seen := int64(0)
	for end := size; end > 0; {
		begin := max(end-block, 0)
		chunk := buf[:end-begin]
		if _, err := f.ReadAt(chunk, begin); err != nil && !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("reading the log: %w", err)
		}
		for i := len(chunk) - 1; i >= 0; i-- {
			if chunk[i] != '\n' || begin+int64(i) == size-1 {
				continue
			}
			if seen++; seen == n {
				return begin + int64(i) + 1, nil
			}
		}
		end = begin
	}
	return 0, nil
}

// Last reads the end of a log for a termination message: at most lines lines and bytes bytes.
func Last(ctx context.Context, path string, lines, bytes int64) (string, error) {
	w := &tailBuffer{most: int(bytes)}
	err := Read(ctx, path, Options{Tail: lines}, w, w)
	return string(w.data), err
}

type tailBuffer struct {
	most int
	data []byte
}

func (t *tailBuffer) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	if over := len(t.data) - t.most; over > 0 {
		t.data = t.data[over:]
	}
	return len(p), nil
}
