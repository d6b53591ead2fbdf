package launch

import (
	"strings"
	"unicode/utf8"
)

// Expand replaces $(NAME) by lookup's answer. $$ stands for $; a reference that
// lookup does not know, or that is not closed, stays as it is.
func Expand(s string, lookup func(name string) (string, bool)) string {
	if !strings.Contains(s, "$") {
		return s
	}
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 || i+1 == len(s) {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		s = s[i+1:]
		switch {
		case s[0] == '$':
			b.WriteByte('$')
			s = s[1:]
		case s[0] == '(':
			end := strings.IndexByte(s, ')')
			if end < 0 {
				b.WriteString("$(")
				s = s[1:]
				continue
			}
			name := s[1:end]
			if v, ok := lookup(name); ok {
				b.WriteString(v)
			} else {
				b.WriteString("$(" + name + ")")
			}
			s = s[end+1:]
		default:
			_, size := utf8.DecodeRuneInString(s)
			b.WriteString("$" + s[:size])
			s = s[size:]
		}
	}
}

// ExpandAll expands a command or its arguments with an environment of NAME=value.
func ExpandAll(words, env []string) []string {
	if len(words) == 0 {
		return nil
	}
	lookup := func(name string) (string, bool) {
		for i := len(env) - 1; i >= 0; i-- {
			if k, v, _ := strings.Cut(env[i], "="); k == name {
				return v, true
			}
		}
		return "", false
	}
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = Expand(w, lookup)
	}
	return out
}
