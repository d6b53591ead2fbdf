package feed

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
)

// mostBytes bounds a record; the bus has no larger messages.
const mostBytes = 8 << 20

// kept are the headers that tell readers something. Those of a batch are not among
// them: what is handed over is on disk.
var kept = []string{proto.HeaderOperation, proto.HeaderRequestID, bus.HeaderExpectLastSubjectSeq}

// request is what a reader asks for, as JSON.
type request struct {
	Stream string `json:"stream"`
	// Subjects as in bus.ConsumeOptions; none: all that the client may read.
	Subjects []string `json:"subjects,omitempty"`
	From     uint64   `json:"from,omitempty"`
}

// state answers log.<client>.state, as JSON.
type state struct {
	bus.StreamState
	Error string `json:"error,omitempty"`
}

// A record is its length and then, for the first one of a tunnel, how many messages
// wait; for each other one a message: sequence, nanoseconds of its time, how many more
// wait, subject, the kept headers, and the rest is its data. Numbers are uvarints,
// texts have their length in front.

func appendOpening(b []byte, pending uint64) []byte {
	body := binary.AppendUvarint(nil, pending)
	return append(binary.AppendUvarint(b, uint64(len(body))), body...)
}

func appendMessage(b []byte, m *bus.StreamMsg) []byte {
	head := make([]byte, 0, 160)
	head = binary.AppendUvarint(head, m.Seq)
	head = binary.AppendUvarint(head, uint64(m.Time.UnixNano()))
	head = binary.AppendUvarint(head, m.Pending)
	head = appendText(head, m.Subject)
	for _, name := range kept {
		head = appendText(head, m.Header.Get(name))
	}
	b = binary.AppendUvarint(b, uint64(len(head)+len(m.Data)))
	return append(append(b, head...), m.Data...)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// readRecord gives the next record's content.
func readRecord(r *bufio.Reader) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	if n > mostBytes {
		return nil, fmt.Errorf("a record of %d bytes", n)
	}
	data := make([]byte, n)
	_, err = io.ReadFull(r, data)
	return data, err
}

var errRecord = errors.New("a record that is none")

func parseOpening(data []byte) (pending uint64, err error) {
	d := decoder{data: data}
	pending = d.number()
	return pending, d.err
}

func parseMessage(data []byte) (*bus.StreamMsg, error) {
	d := decoder{data: data}
	m := &bus.StreamMsg{Seq: d.number(), Time: time.Unix(0, int64(d.number())), Pending: d.number(), Subject: d.text()}
	for _, name := range kept {
		if value := d.text(); value != "" {
			if m.Header == nil {
				m.Header = bus.Header{}
			}
			m.Header[name] = []string{value}
		}
	}
	m.Data = d.data[:len(d.data):len(d.data)]
	return m, d.err
}

type decoder struct {
	data []byte
	err  error
}

func (d *decoder) number() uint64 {
	v, n := binary.Uvarint(d.data)
	if n <= 0 {
		d.data, d.err = nil, errRecord
		return 0
	}
	d.data = d.data[n:]
	return v
}

func (d *decoder) text() string {
	n := d.number()
	if n > uint64(len(d.data)) {
		d.data, d.err = nil, errRecord
		return ""
	}
	s := string(d.data[:n])
	d.data = d.data[n:]
	return s
}
