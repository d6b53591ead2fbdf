package wire

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// Name is a domain name as it stands in a packet, in lower case: labels with
// their lengths in front, the root's empty label at the end. It compares by ==,
// serves as a map key, and never holds compression pointers.
type Name string

// maxName and maxLabel are the bounds of RFC 1035.
const (
	maxName  = 255
	maxLabel = 63
)

// ErrName says that a text is no domain name.
var ErrName = errors.New("not a domain name")

// ParseName reads "web.default.svc.cluster.local", with or without the last dot.
func ParseName(text string) (Name, error) {
	text = strings.TrimSuffix(text, ".")
	if text == "" {
		return "\x00", nil
	}
	out := make([]byte, 0, len(text)+2)
	for label := range strings.SplitSeq(text, ".") {
		if len(label) == 0 || len(label) > maxLabel {
			return "", ErrName
		}
		out = append(out, byte(len(label)))
		out = append(out, label...)
	}
	out = append(out, 0)
	if len(out) > maxName {
		return "", ErrName
	}
	lower(out)
	return Name(out), nil
}

// Under puts labels in front of a name. ErrName when one is too long, or all of it.
func (n Name) Under(labels ...string) (Name, error) {
	size := len(n)
	for _, l := range labels {
		if len(l) == 0 || len(l) > maxLabel {
			return "", ErrName
		}
		size += 1 + len(l)
	}
	if size > maxName {
		return "", ErrName
	}
	out := make([]byte, 0, size)
	for _, l := range labels {
		out = append(out, byte(len(l)))
		out = append(out, l...)
	}
	lower(out)
	return Name(append(out, n...)), nil
}

// String is the usual text, with the last dot.
func (n Name) String() string {
	if n == "\x00" || n == "" {
		return "."
	}
	var b strings.Builder
	for i := 0; i < len(n) && n[i] != 0; {
		l := int(n[i])
		if i+1+l > len(n) {
			break
		}
		b.WriteString(string(n[i+1 : i+1+l]))
		b.WriteByte('.')
		i += 1 + l
	}
	return b.String()
}

// First gives the first label and the name without it; "" for the root.
func (n Name) First() (label string, rest Name) {
	if n == "" || n[0] == 0 {
		return "", n
	}
	l := int(n[0])
	return string(n[1 : 1+l]), n[1+l:]
}

// Below tells whether n is parent or below it.
func (n Name) Below(parent Name) bool {
	for rest := n; len(rest) >= len(parent); {
		if rest == parent {
			return true
		}
		if rest[0] == 0 {
			return false
		}
		rest = rest[1+int(rest[0]):]
	}
	return false
}

// lower changes ASCII capitals; lengths are below 64 and so are none.
func lower(b []byte) {
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
}

// Reverse is the name under in-addr.arpa of an IPv4 address.
func Reverse(addr netip.Addr) Name {
	b := addr.As4()
	var out []byte
	for i := len(b) - 1; i >= 0; i-- {
		digits := strconv.Itoa(int(b[i]))
		out = append(out, byte(len(digits)))
		out = append(out, digits...)
	}
	return Name(append(out, inAddrArpa...))
}

const inAddrArpa = "\x07in-addr\x04arpa\x00"

// Address is the inverse of Reverse; false for a name of another form.
func (n Name) Address() (netip.Addr, bool) {
	var b [4]byte
	for i := len(b) - 1; i >= 0; i-- {
		label, rest := n.First()
		v, err := strconv.ParseUint(label, 10, 8)
		if err != nil || len(label) > 1 && label[0] == '0' {
			return netip.Addr{}, false
		}
		b[i], n = byte(v), rest
	}
	return netip.AddrFrom4(b), n == inAddrArpa
}
