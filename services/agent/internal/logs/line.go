package logs

import (
	"bytes"
	"errors"
	"time"
)

// line is one parsed line of a log file; text still ends with its newline unless partial.
type line struct {
	stamp  []byte // as in the file
	stream string
	text   []byte
}

var errFormat = errors.New("unexpected log line format")

var newline = []byte{'\n'}

// parse reads one line of the file with its newline. The result shares raw's memory.
func parse(raw []byte) (line, error) {
	var l line
	i := bytes.IndexByte(raw, ' ')
	if i < 0 {
		return l, errFormat
	}
	l.stamp, raw = raw[:i], raw[i+1:]
	i = bytes.IndexByte(raw, ' ')
	if i < 0 {
		return l, errFormat
	}
	switch string(raw[:i]) {
	case "stdout":
		l.stream = "stdout"
	case "stderr":
		l.stream = "stderr"
	default:
		return l, errFormat
	}
	raw = raw[i+1:]
	i = bytes.IndexByte(raw, ' ')
	if i < 0 {
		return l, errFormat
	}
	tags := raw[:i]
	l.text = raw[i+1:]
	if len(tags) == 0 {
		return l, errFormat
	}
	if tags[0] == 'P' {
		l.text = bytes.TrimSuffix(l.text, newline)
	}
	return l, nil
}

// time is the line's stamp; zero when it cannot be read.
func (l line) time() time.Time {
	t, err := time.Parse(time.RFC3339Nano, string(l.stamp))
	if err != nil {
		return time.Time{}
	}
	return t
}
