// Package skim walks JSON without decoding it: the scheduler wants a handful of
// fields of each pod version, and the rest of the bytes only have to be stepped
// over. Start with Object and Array.
//
// The input comes from the state log, which holds only JSON that the gateway
// wrote. On anything else the walk stops with ErrMalformed; it never panics and
// never reads beyond its input. Nothing is copied: keys and values are slices of
// the input.
package skim

import (
	"encoding/json"
	"errors"
)

// ErrMalformed says that the bytes are not JSON, or not of the expected kind.
var ErrMalformed = errors.New("malformed JSON")

// Object calls fn with each member of the object in data: the key without its
// quotes (escapes are left alone) and the raw value. A nil or JSON null object
// has no members.
func Object(data []byte, fn func(key, value []byte) error) error {
	i := space(data, 0)
	if null(data, i) {
		return nil
	}
	if i >= len(data) || data[i] != '{' {
		return ErrMalformed
	}
	for i = space(data, i+1); i < len(data); {
		if data[i] == '}' {
			return nil
		}
		end := value(data, i)
		if end < 0 || data[i] != '"' {
			return ErrMalformed
		}
		key := data[i+1 : end-1]
		if i = space(data, end); i >= len(data) || data[i] != ':' {
			return ErrMalformed
		}
		i = space(data, i+1)
		if end = value(data, i); end < 0 {
			return ErrMalformed
		}
		if err := fn(key, data[i:end]); err != nil {
			return err
		}
		if i = space(data, end); i < len(data) && data[i] == ',' {
			i = space(data, i+1)
		}
	}
	return ErrMalformed
}

// Array calls fn with each raw element of the array in data. A nil or JSON null
// array has no elements.
func Array(data []byte, fn func(element []byte) error) error {
	i := space(data, 0)
	if null(data, i) {
		return nil
	}
	if i >= len(data) || data[i] != '[' {
		return ErrMalformed
	}
	for i = space(data, i+1); i < len(data); {
		if data[i] == ']' {
			return nil
		}
		end := value(data, i)
		if end < 0 {
			return ErrMalformed
		}
		if err := fn(data[i:end]); err != nil {
			return err
		}
		if i = space(data, end); i < len(data) && data[i] == ',' {
			i = space(data, i+1)
		}
	}
	return ErrMalformed
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

func space(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\t' || data[i] == '\r') {
		i++
	}
	return i
}

// value gives the index after the value that begins at i, or -1.
func value(data []byte, i int) int {
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
	for i++; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
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
