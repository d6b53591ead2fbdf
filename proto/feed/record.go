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
	Goal     uint64   `json:"goal,omitempty"` // as of statelog.Reading
}

// state answers log.<client>.state, as JSON.
type state struct {
	bus.StreamState
	Error string `json:"error,omitempty"`
}

// A record is its length and then its kind: 0 with the sequence up to which nothing is
// missing, or 1 with a message: sequence, nanoseconds of its time, subject, the kept
// headers, and the rest is its data. Numbers are uvarints, texts have their length in front.
const (
	kindSettled = iota
	kindMessage
)

func appendSettled(b []byte, seq uint64) []byte {
	body := binary.AppendUvarint([]byte{kindSettled}, seq)
	return append(binary.AppendUvarint(b, uint64(len(body))), body...)
}

func appendMessage(b []byte, m *bus.StreamMsg) []byte {
	head := append(make([]byte, 0, 160), kindMessage)
	head = binary.AppendUvarint(head, m.Seq)
	head = binary.AppendUvarint(head, uint64(m.Time.UnixNano()))
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

// parse gives a record's message, or nil and what is settled.
func parse(data []byte) (m *bus.StreamMsg, settled uint64, err error) {
	d := decoder{data: data}
	switch kind := d.number(); {
	case d.err != nil:
	case kind == kindSettled:
		settled = d.number()
	case kind == kindMessage:
		m = d.message()
	default:
		d.err = errRecord
	}
	if d.err != nil {
		return nil, 0, d.err
	}
	return m, settled, nil
}

func (d *decoder) message() *bus.StreamMsg {
	m := &bus.StreamMsg{Seq: d.number(), Time: time.Unix(0, int64(d.number())), Subject: d.text()}
	for _, name := range kept {
		if value := d.text(); value != "" {
			if m.Header == nil {
				m.Header = bus.Header{}
			}
			m.Header[name] = []string{value}
		}
	}
	m.Data = d.data[:len(d.data):len(d.data)]
	return m
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
