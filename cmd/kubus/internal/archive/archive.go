package archive

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/proto"
)

// Format is the version of the file that this program reads and writes.
const Format = 1

// mostLine bounds a line: an object has at most 6 MiB.
const mostLine = 16 << 20

// Head says what a backup is of.
type Head struct {
	Format   int               `json:"format"`
	Version  string            `json:"version"` // of the kubus that wrote it
	Time     time.Time         `json:"time"`
	Instance instance.Instance `json:"instance"`
	// Streams are the state streams by name.
	Streams map[string]Stream `json:"streams"`
}

// Stream is how far a backup goes in a state stream.
type Stream struct {
	Revision uint64 `json:"revision"`
	Objects  int    `json:"objects"`
}

// File is one of the data directory, by its path in it.
type File struct {
	Path string `json:"path"`
	Data []byte `json:"data"`
}

// Object is one object as the log has it.
type Object struct {
	Group     string          `json:"group,omitempty"`
	Resource  string          `json:"resource"`
	Namespace string          `json:"namespace,omitempty"`
	Name      string          `json:"name"`
	Revision  uint64          `json:"revision"`
	Stored    time.Time       `json:"stored"`
	Data      json.RawMessage `json:"data"`
}

// Key names the object.
func (o *Object) Key() proto.Key {
	return proto.Key{GroupResource: proto.GroupResource{Group: o.Group, Resource: o.Resource}, Namespace: o.Namespace, Name: o.Name}
}

type end struct {
	Lines  int    `json:"lines"`
	SHA256 string `json:"sha256"`
}

// line has one of its fields.
type line struct {
	Head   *Head   `json:"head,omitempty"`
	File   *File   `json:"file,omitempty"`
	Object *Object `json:"object,omitempty"`
	End    *end    `json:"end,omitempty"`
}

// Writer writes a backup. Without a Close it is none.
type Writer struct {
	out   *zstd.Encoder
	sum   hash.Hash
	lines int
}

// NewWriter begins a backup.
func NewWriter(w io.Writer, head Head) (*Writer, error) {
	out, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	head.Format = Format
	b := &Writer{out: out, sum: sha256.New()}
	return b, b.write(line{Head: &head})
}

func (w *Writer) write(l line) error {
	data, err := json.Marshal(l)
	if err != nil {
		return err
	}
	data = append(data, '\n')
	w.sum.Write(data)
	w.lines++
	_, err = w.out.Write(data)
	return err
}

// File adds a file.
func (w *Writer) File(f File) error { return w.write(line{File: &f}) }

// Object adds an object.
func (w *Writer) Object(o Object) error { return w.write(line{Object: &o}) }

// Close ends the backup; what it was written to is the caller's to close.
func (w *Writer) Close() error {
	e := &end{Lines: w.lines, SHA256: hex.EncodeToString(w.sum.Sum(nil))}
	return errors.Join(w.write(line{End: e}), w.out.Close())
}

// Errors of Read.
var (
	// ErrCutShort: the file ends before the backup does.
	ErrCutShort = errors.New("the backup is cut short: it has no end")
	// ErrAltered: it is not as it was written.
	ErrAltered = errors.New("the backup was altered: its checksum is another")
	// ErrForeign: it is no backup, or one of another version.
	ErrForeign = errors.New("this is no backup that this kubus can read")
)

// Visitor takes what a backup holds, each in its turn. Its errors end the reading. nil
// functions pass over.
type Visitor struct {
	Head   func(Head) error
	File   func(File) error
	Object func(Object) error
}

// Verify reads a backup to its end and gives its head.
func Verify(r io.Reader) (head Head, err error) {
	err = Read(r, Visitor{Head: func(h Head) error {
		head = h
		return nil
	}})
	return head, err
}

// Read hands over what a backup holds. Only when it returns nil was it all, as written.
func Read(r io.Reader, v Visitor) error {
	in, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer in.Close()
	lines := bufio.NewReaderSize(in, 1<<20)
	sum := sha256.New()
	for n := 0; ; n++ {
		data, err := next(lines)
		if err != nil {
			return unreadable(err, n)
		}
		var l line
		if err := json.Unmarshal(data, &l); err != nil {
			return unreadable(err, n)
		}
		switch {
		case n == 0 && l.Head == nil:
			return ErrForeign
		case n == 0 && l.Head.Format != Format:
			return fmt.Errorf("%w: its format is %d, that of this kubus %d", ErrForeign, l.Head.Format, Format)
		case l.End != nil:
			if l.End.Lines != n || l.End.SHA256 != hex.EncodeToString(sum.Sum(nil)) {
				return ErrAltered
			}
			return nil
		case l.Head != nil && v.Head != nil:
			err = v.Head(*l.Head)
		case l.File != nil && v.File != nil:
			err = v.File(*l.File)
		case l.Object != nil && v.Object != nil:
			err = v.Object(*l.Object)
		}
		if err != nil {
			return err
		}
		sum.Write(data)
	}
}

// next gives a line with its end.
func next(r *bufio.Reader) ([]byte, error) {
	var out []byte
	for {
		part, err := r.ReadSlice('\n')
		out = append(out, part...)
		if len(out) > mostLine {
			return nil, errors.New("a line is too long")
		}
		if err == nil {
			return bytes.Clone(out), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
	}
}

func unreadable(err error, lines int) error {
	switch {
	case lines == 0:
		return fmt.Errorf("%w: %w", ErrForeign, err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ErrCutShort
	}
	return fmt.Errorf("%w: %w", ErrAltered, err)
}
