package change

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Cursor says for each state stream up to which sequence it has been announced.
type Cursor map[string]uint64

// String is the form of the header: STREAM=SEQ, sorted, separated by commas.
func (c Cursor) String() string {
	parts := make([]string, 0, len(c))
	for _, stream := range slices.Sorted(maps.Keys(c)) {
		parts = append(parts, stream+"="+strconv.FormatUint(c[stream], 10))
	}
	return strings.Join(parts, ",")
}

// ParseCursor is the inverse of String.
func ParseCursor(s string) (Cursor, error) {
	c := Cursor{}
	if s == "" {
		return c, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		stream, seq, ok := strings.Cut(part, "=")
		n, err := strconv.ParseUint(seq, 10, 64)
		if !ok || stream == "" || err != nil {
			return nil, fmt.Errorf("cursor %q: %q is not STREAM=SEQUENCE", s, part)
		}
		c[stream] = n
	}
	return c, nil
}
