package change

import (
	"testing"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/statelog"
)

func TestVerb(t *testing.T) {
	tests := []struct{ name, operation, expected, before, uid, want string }{
		{"a first version is added", "create", "0", "", "u", Added},
		{"so is one in the place of a tombstone", "create", "7", "", "u", Added},
		{"a version in the place of another is a modification", "", "7", "u", "u", Modified},
		{"also when that other was not read", "", "7", "", "u", Modified},
		{"another object of the same name, whose first version was not read, is added", "", "7", "u", "v", Added},
		{"a tombstone is a deletion", "delete", "7", "u", "u", Deleted},
		{"a writer that says nothing, where nothing was", "", "0", "", "u", Added},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := NewReader("c", "STATE")
			if tt.before != "" {
				r.verb(&bus.StreamMsg{Subject: "s"}, tt.before)
			}
			m := &bus.StreamMsg{Subject: "s", Header: bus.Header{bus.HeaderExpectLastSubjectSeq: {tt.expected}}}
			if tt.operation != "" {
				m.Header[proto.HeaderOperation] = []string{tt.operation}
			}
			if got := r.verb(m, tt.uid); got != tt.want {
				t.Errorf("operation %q on %s, uid %s, before %q: got %s, want %s", tt.operation, tt.expected, tt.uid, tt.before, got, tt.want)
			}
		})
	}
}

func TestUID(t *testing.T) {
	tests := []struct{ name, data, want string }{
		{"before everything else", `{"kind":"Pod","metadata":{"name":"p","uid":"u1","ownerReferences":[{"uid":"o"}]}}`, "u1"},
		{"behind an owner's", `{"kind":"X","metadata":{"name":"p","ownerReferences":[{"uid":"o"}],"uid":"u1"}}`, "u1"},
		{"an annotation that looks like one is none", `{"metadata":{"annotations":{"a":"{\"uid\":\"no\"}"},"uid":"u1"}}`, "u1"},
		{"none", `{"metadata":{"name":"p"}}`, ""},
		{"no metadata", `{"kind":"X"}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := uid(statelog.NewEntry(proto.Key{}, 1, []byte(tt.data), false)); got != tt.want {
				t.Errorf("uid of %s = %q, want %q", tt.data, got, tt.want)
			}
		})
	}
}

func TestCursor(t *testing.T) {
	for _, in := range []string{"", "STATE=1", "EVENTS=3,LEASES=2,STATE=1"} {
		c, err := ParseCursor(in)
		if err != nil || c.String() != in {
			t.Errorf("ParseCursor(%q) = %v, %v", in, c, err)
		}
	}
	for _, in := range []string{"STATE", "=1", "STATE=x", "STATE=1,"} {
		if c, err := ParseCursor(in); err == nil {
			t.Errorf("ParseCursor(%q) = %v, want an error", in, c)
		}
	}
}
