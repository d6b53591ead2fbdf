// Package skim walks JSON without decoding it: who wants a handful of fields of each
// version of an object only has to step over the rest of its bytes. Start with Lookup,
// or with Object and Array.
//
// The input comes from the state log, which holds only JSON that the gateway
// wrote. On anything else the walk stops with ErrMalformed; it never panics and
// never reads beyond its input. Nothing is copied: keys and values are slices of
// the input.
package skim

import (
	"bytes"
	"encoding/json"
	"errors"
)

// ErrMalformed says that the bytes are not JSON, or not of the expected kind.
var ErrMalformed = errors.New("malformed JSON")

// Object calls fn with each member of the object in data: the key without its
// quotes (escapes are left alone) and the raw value. A nil or JSON null object
// has no members.
func Object(data []byte, fn func(key, value []byte) error) error {
	i := Space(data, 0)
	if null(data, i) {
		return nil
	}
	if i >= len(data) || data[i] != '{' {
		return ErrMalformed
	}
	for i = Space(data, i+1); i < len(data); {
		if data[i] == '}' {
			return nil
		}
		end := End(data, i)
		if end < 0 || data[i] != '"' {
			return ErrMalformed
		}
		key := data[i+1 : end-1]
		if i = Space(data, end); i >= len(data) || data[i] != ':' {
			return ErrMalformed
		}
		i = Space(data, i+1)
		if end = End(data, i); end < 0 {
			return ErrMalformed
		}
		if err := fn(key, data[i:end]); err != nil {
			return err
		}
		if i = Space(data, end); i < len(data) && data[i] == ',' {
			i = Space(data, i+1)
		}
	}
	return ErrMalformed
}

// Array calls fn with each raw element of the array in data. A nil or JSON null
// array has no elements.
func Array(data []byte, fn func(element []byte) error) error {
	i := Space(data, 0)
	if null(data, i) {
		return nil
	}
	if i >= len(data) || data[i] != '[' {
		return ErrMalformed
	}
	for i = Space(data, i+1); i < len(data); {
		if data[i] == ']' {
			return nil
		}
		end := End(data, i)
		if end < 0 {
			return ErrMalformed
		}
		if err := fn(data[i:end]); err != nil {
			return err
		}
		if i = Space(data, end); i < len(data) && data[i] == ',' {
			i = Space(data, i+1)
		}
	}
	return ErrMalformed
}

// Lookup gives the raw value at a path of names in an object, nil where there is none. A
// name with escapes is never found.
func Lookup(data []byte, path ...string) []byte {
	for _, name := range path {
		if data = member(data, name); data == nil {
			return nil
		}
	}
	return data
}

// member is one step of Lookup. It is not made of Object, since it is asked for every
// version of an object and each watcher: it must not allocate.
func member(data []byte, name string) []byte {
	i := Space(data, 0)
	if i >= len(data) || data[i] != '{' {
		return nil
	}
	for i = Space(data, i+1); i < len(data) && data[i] == '"'; {
		end := text(data, i)
		if end < 0 {
			return nil
		}
		found := string(data[i+1:end-1]) == name
		if i = Space(data, end); i >= len(data) || data[i] != ':' {
			return nil
		}
		i = Space(data, i+1)
		if end = End(data, i); end < 0 {
			return nil
		}
		if found {
			return data[i:end]
		}
		if i = Space(data, end); i < len(data) && data[i] == ',' {
			i = Space(data, i+1)
		}
	}
	return nil
}

// Scalar gives a string's content, or the text of a number or boolean; false for anything
// else, and for a string with escapes.
func Scalar(raw []byte) (string, bool) {
	switch {
	case len(raw) == 0 || raw[0] == '{' || raw[0] == '[':
		return "", false
	case raw[0] != '"':
		return string(raw), true
	case len(raw) < 2 || bytes.IndexByte(raw, '\\') >= 0:
		return "", false
	}
	return string(raw[1 : len(raw)-1]), true
}

// String decodes a raw JSON string; anything else gives "".
func String(raw []byte) string {
	if len(raw) < 2 || raw[0] != '"' {
		return ""
	}
	for _, c := range raw[1 : len(raw)-1] {
		if c == '\\' {
			var s string
			if json.Unmarshal(raw, &s) != nil {
				return ""
			}
			return s
		}
	}
	return string(raw[1 : len(raw)-1])
}

// True tells whether raw is the JSON value true.
func True(raw []byte) bool { return string(raw) == "true" }

func null(data []byte, i int) bool {
	return i >= len(data) && len(data) == 0 || i+4 <= len(data) && string(data[i:i+4]) == "null"
}

// Space gives the index of the first byte at or after i that is no white space.
func Space(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\t' || data[i] == '\r') {
		i++
	}
	return i
}

// End gives the index after the value that begins at i, or -1.
func End(data []byte, i int) int {
	if i >= len(data) {
		return -1
	}
	switch data[i] {
	case '"':
		return text(data, i)
	case '{', '[':
		return nested(data, i)
	}
	start := i
	for i < len(data) {
		switch data[i] {
		case ',', '}', ']', ' ', '\n', '\t', '\r', ':':
			if i == start {
				return -1
			}
			return i
		}
		i++
	}
	if i == start {
		return -1
	}
	return i
}

// text gives the index after the string whose opening quote is at i, or -1.
func text(data []byte, i int) int {
	for j := i + 1; ; j++ {
		k := bytes.IndexByte(data[j:], '"')
		if k < 0 {
			return -1
		}
		j += k
		escapes := 0
		for data[j-1-escapes] == '\\' && j-1-escapes > i {
			escapes++
		}
		if escapes%2 == 0 {
			return j + 1
		}
	}
}

// nested steps over a whole object or array by counting brackets outside strings.
func nested(data []byte, i int) int {
	depth := 0
	for i < len(data) {
		switch data[i] {
		case '"':
			if i = text(data, i); i < 0 {
				return -1
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return -1
}
