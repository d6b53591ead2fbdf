package statelog

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"kubus.dev/proto"
)

func sized(namespace, name string, bytes int, deletion string) *Entry {
	head := fmt.Sprintf(`{"metadata":{"name":%q%s},"data":"`, name, deletion)
	data := head + strings.Repeat("x", bytes-objectBytes-len(head)-2) + `"}`
	return NewEntry(proto.Key{GroupResource: pods, Namespace: namespace, Name: name}, 1, []byte(data), false)
}

func TestWhoFindsRoom(t *testing.T) {
	t.Parallel()
	quota := Quota{Total: 8000, Namespace: 4000}
	ending := `,"deletionTimestamp":"2026-01-01T00:00:00Z"`
	for name, c := range map[string]struct {
		used Usage
		next *Entry
		live *Entry
		end  bool
		want string // whose budget is spent; "-": it finds room
	}{
		"an object that just fits":                           {Usage{7000, 3000}, sized("a", "x", 1000, ""), nil, false, "-"},
		"one that is too much for its namespace":             {Usage{5000, 3001}, sized("a", "x", 1000, ""), nil, false, "a"},
		"one that is too much for all":                       {Usage{7001, 0}, sized("a", "x", 1000, ""), nil, false, ""},
		"one of the cluster is of no namespace":              {Usage{5000, 5000}, sized("", "x", 1000, ""), nil, false, "-"},
		"a change that grows within the reserve":             {Usage{5000, 4000}, sized("a", "x", 900, ""), sized("a", "x", 500, ""), false, "-"},
		"a change that grows beyond it":                      {Usage{5000, 4200}, sized("a", "x", 900, ""), sized("a", "x", 500, ""), false, "a"},
		"a change that makes it smaller, however full it is": {Usage{9999, 9999}, sized("a", "x", 500, ""), sized("a", "x", 501, ""), false, "-"},
		"an object that is being ended":                      {Usage{9999, 9999}, sized("a", "x", 900, ending), sized("a", "x", 500, ""), false, "-"},
		"a new one that claims to be":                        {Usage{9999, 9999}, sized("a", "x", 900, ending), nil, false, ""},
		"a deletion":                                         {Usage{9999, 9999}, sized("a", "x", 900, ""), sized("a", "x", 500, ""), true, "-"},
	} {
		err := quota.check(c.used, &Write{Key: c.next.key, Data: c.next.data, Delete: c.end}, c.live)
		var over *QuotaError
		if errors.As(err, &over) != (c.want != "-") || over != nil && over.Namespace != c.want {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := (Quota{}).check(Usage{1 << 60, 1 << 60}, &Write{Data: []byte("{}")}, nil); err != nil {
		t.Errorf("without a bound: %v", err)
	}
}

func TestUsageFollowsTheObjects(t *testing.T) {
	t.Parallel()
	var u usage
	a, b, c := sized("n", "a", 1000, ""), sized("n", "a", 700, ""), sized("", "c", 500, "")
	for i, step := range []struct {
		prev, next *Entry
		want       Usage
	}{
		{nil, a, Usage{1000, 1000}},
		{a, b, Usage{700, 700}},
		{nil, c, Usage{1200, 700}},
		{b, &Entry{key: b.key, data: b.data, deleted: true}, Usage{500, 0}},
		{nil, &Entry{key: b.key, deleted: true}, Usage{500, 0}},
		{c, nil, Usage{0, 0}},
	} {
		u.replace(step.prev, step.next)
		if got := u.of("n"); got != step.want {
			t.Errorf("step %d: got %+v, want %+v", i, got, step.want)
		}
	}
	if len(u.namespaces) != 0 {
		t.Errorf("a namespace that has nothing is remembered: %v", u.namespaces)
	}
}
