package shim

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxLine is the longest piece of a line in one record, as in containerd.
const maxLine = 16 << 10

// logFile writes container output in the CRI's format and rotates: the file in use keeps its name, older ones get
// a time stamp after it, as the kubelet does. Its streams share it; each Write call holds whole records.
type logFile struct {
	path    string
	maxSize int64
	maxKeep int

	mu   sync.Mutex
	file *os.File
	size int64
	out  []byte
}

func openLog(path string, maxSize int64, maxKeep int) (*logFile, error) {
	l := &logFile{path: path, maxSize: maxSize, maxKeep: maxKeep}
	if path == "" {
		return l, nil
	}
	return l, l.open()
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	if info, err := f.Stat(); err == nil {
		l.size = info.Size()
	}
	l.file = f
	return nil
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
	l.out = nil
}

// stream is one output of a container on its way into the log.
type stream struct {
	log  *logFile
	name string // "stdout" or "stderr"
	rest []byte // an unfinished line, shorter than maxLine
}

// write takes output as it comes; what ends with no newline waits for the next call.
func (s *stream) write(data []byte, now time.Time) {
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.path == "" {
		return
	}
	out := l.out[:0]
	head := s.head(now)
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n')
		room := maxLine - len(s.rest)
		switch {
		case end >= 0 && end <= room:
			out = s.record(out, head, 'F', data[:end])
			data = data[end+1:]
		case len(data) >= room:
			out = s.record(out, head, 'P', data[:room])
			data = data[room:]
		default:
			s.rest = append(s.rest, data...)
			data = nil
		}
	}
	l.append(out)
}

// end writes an unfinished last line. A 'P' record says that no newline was seen.
func (s *stream) end(now time.Time) {
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(s.rest) > 0 && l.path != "" {
		l.append(s.record(l.out[:0], s.head(now), 'P', nil))
	}
	s.rest = nil
}

// head is what every record of one write begins with.
func (s *stream) head(now time.Time) []byte {
	head := now.AppendFormat(make([]byte, 0, 48), "2006-01-02T15:04:05.000000000Z07:00")
	head = append(head, ' ')
	head = append(head, s.name...)
	return append(head, ' ')
}

func (s *stream) record(out, head []byte, tag byte, data []byte) []byte {
	out = append(out, head...)
	out = append(out, tag, ' ')
	out = append(out, s.rest...)
	out = append(out, data...)
	s.rest = s.rest[:0]
	return append(out, '\n')
}

// append writes under l.mu. A full disk loses output, never the container: the next write tries again.
func (l *logFile) append(out []byte) {
	if cap(out) <= 128<<10 {
		l.out = out
	}
	if len(out) == 0 {
		return
	}
	if l.file == nil && l.open() != nil {
		return
	}
	if l.maxSize > 0 && l.size > 0 && l.size+int64(len(out)) > l.maxSize {
		l.rotate()
	}
	if l.file != nil {
		n, _ := l.file.Write(out)
		l.size += int64(n)
	}
}

func (l *logFile) rotate() {
	stamped := l.path + "." + time.Now().UTC().Format("20060102-150405.000000")
	if err := os.Rename(l.path, stamped); err != nil {
		return
	}
	l.file.Close()
	l.file = nil
	if l.open() != nil {
		return
	}
	l.prune()
}

// prune removes the oldest rotated files; the one in use counts as one of maxKeep.
func (l *logFile) prune() {
	base := filepath.Base(l.path) + "."
	entries, err := os.ReadDir(filepath.Dir(l.path))
	if err != nil {
		return
	}
	var old []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), base) {
			old = append(old, e.Name())
		}
	}
	slices.Sort(old)
	for len(old) > max(l.maxKeep-1, 0) {
		os.Remove(filepath.Join(filepath.Dir(l.path), old[0]))
		old = old[1:]
	}
}
