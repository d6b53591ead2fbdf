package change

import (
	"testing"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

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
