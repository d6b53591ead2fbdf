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
	quota := Quota{Total: 8000, Namespace: 4000, Cluster: 3000}
	ending := `,"deletionTimestamp":"2026-01-01T00:00:00Z"`
	for name, c := range map[string]struct {
		used Usage
		next *Entry
		live *Entry
		end  bool
		want Budget // that is spent; 0: it finds room
	}{
		"an object that just fits":                           {Usage{7000, 3000}, sized("a", "x", 1000, ""), nil, false, 0},
		"one that is too much for its namespace":             {Usage{5000, 3001}, sized("a", "x", 1000, ""), nil, false, NamespaceBudget},
		"one that is too much for all":                       {Usage{7001, 0}, sized("a", "x", 1000, ""), nil, false, TotalBudget},
		"one of the cluster that just fits":                  {Usage{5000, 2000}, sized("", "x", 1000, ""), nil, false, 0},
		"one that is too much for the cluster":               {Usage{5000, 2001}, sized("", "x", 1000, ""), nil, false, ClusterBudget},
		"a change of one of the cluster":                     {Usage{5000, 2900}, sized("", "x", 900, ""), sized("", "x", 500, ""), false, 0},
		"a change of one of the cluster beyond the reserve":  {Usage{5000, 3000}, sized("", "x", 900, ""), sized("", "x", 500, ""), false, ClusterBudget},
		"one of the cluster that is being ended":             {Usage{5000, 9999}, sized("", "x", 900, ending), sized("", "x", 500, ""), false, 0},
		"a deletion of one of the cluster":                   {Usage{5000, 9999}, sized("", "x", 900, ""), sized("", "x", 500, ""), true, 0},
		"a change that grows within the reserve":             {Usage{5000, 4000}, sized("a", "x", 900, ""), sized("a", "x", 500, ""), false, 0},
		"a change that grows beyond it":                      {Usage{5000, 4200}, sized("a", "x", 900, ""), sized("a", "x", 500, ""), false, NamespaceBudget},
		"a change that makes it smaller, however full it is": {Usage{9999, 9999}, sized("a", "x", 500, ""), sized("a", "x", 501, ""), false, 0},
		"an object that is being ended":                      {Usage{9999, 9999}, sized("a", "x", 900, ending), sized("a", "x", 500, ""), false, 0},
		"a new one that claims to be":                        {Usage{9999, 9999}, sized("a", "x", 900, ending), nil, false, TotalBudget},
		"a deletion":                                         {Usage{9999, 9999}, sized("a", "x", 900, ""), sized("a", "x", 500, ""), true, 0},
	} {
		err := quota.check(c.used, &Write{Key: c.next.key, Data: c.next.data, Delete: c.end}, c.live)
		var over *QuotaError
		if errors.As(err, &over) != (c.want != 0) || over != nil && over.Budget != c.want {
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
		prev, next    *Entry
		want, cluster Usage
	}{
		{nil, a, Usage{1000, 1000}, Usage{1000, 0}},
		{a, b, Usage{700, 700}, Usage{700, 0}},
		{nil, c, Usage{1200, 700}, Usage{1200, 500}},
		{b, &Entry{key: b.key, data: b.data, deleted: true}, Usage{500, 0}, Usage{500, 500}},
		{nil, &Entry{key: b.key, deleted: true}, Usage{500, 0}, Usage{500, 500}},
		{c, nil, Usage{0, 0}, Usage{0, 0}},
	} {
		u.replace(step.prev, step.next)
		if got, cluster := u.of("n"), u.of(""); got != step.want || cluster != step.cluster {
			t.Errorf("step %d: got %+v and %+v, want %+v and %+v", i, got, cluster, step.want, step.cluster)
		}
	}
	if len(u.namespaces) != 0 {
		t.Errorf("a namespace that has nothing is remembered: %v", u.namespaces)
	}
}
