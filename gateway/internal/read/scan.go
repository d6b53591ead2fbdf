package read

import "bytes"

// The scanner reads single fields of stored documents. It relies on valid JSON,
// which the gateway itself wrote, and never reads beyond the slice.

// lookup gives the raw value at path in a JSON object, nil when it is not there.
func lookup(data []byte, path ...string) []byte {
	for _, name := range path {
		data = member(data, name)
		if data == nil {
			return nil
		}
	}
	return data
}

// member gives the raw value of a field of a JSON object.
func member(data []byte, name string) []byte {
	i := space(data, 0)
	if i >= len(data) || data[i] != '{' {
		return nil
	}
	for i = space(data, i+1); i < len(data) && data[i] == '"'; {
		end := stringEnd(data, i)
		found := end-i-2 == len(name) && string(data[i+1:end-1]) == name
		i = space(data, end)
		if i >= len(data) || data[i] != ':' {
			return nil
		}
		i = space(data, i+1)
		end = valueEnd(data, i)
		if found {
			return data[i:end]
		}
		i = space(data, end)
		if i >= len(data) || data[i] != ',' {
			return nil
		}
		i = space(data, i+1)
	}
	return nil
}

// scalar gives a string's content, or the text of a number or boolean. Escaped
// strings are reported as not found: no selectable field may hold one.
func scalar(raw []byte) (string, bool) {
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

// valueEnd gives the offset behind the value that begins at i.
func valueEnd(data []byte, i int) int {
	if i >= len(data) {
		return len(data)
	}
	switch data[i] {
	case '"':
		return stringEnd(data, i)
	case '{', '[':
		depth := 0
		for i < len(data) {
			switch data[i] {
			case '"':
				i = stringEnd(data, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
				if depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return len(data)
	}
	for i < len(data) && data[i] != ',' && data[i] != '}' && data[i] != ']' && data[i] > ' ' {
		i++
	}
	return i
}

// stringEnd gives the offset behind the string that begins at i.
func stringEnd(data []byte, i int) int {
	for j := i + 1; j < len(data); j++ {
		k := bytes.IndexByte(data[j:], '"')
		if k < 0 {
			return len(data)
		}
		j += k
		slashes := 0
		for l := j - 1; l > i && data[l] == '\\'; l-- {
			slashes++
		}
		if slashes%2 == 0 {
			return j + 1
		}
	}
	return len(data)
}

func space(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\t' || data[i] == '\r') {
		i++
	}
	return i
}
