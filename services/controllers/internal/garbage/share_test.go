package garbage

import (
	"fmt"
	"testing"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

func TestSiblingsHoldTheirOwnersOnce(t *testing.T) {
	t.Parallel()
	g := newGraph()
	var kept []*node
	for i := range 3 {
		name := fmt.Sprint("p", i)
		n := &node{key: proto.Key{Namespace: "a", Name: name}, uid: name, owners: []statelog.OwnerReference{{UID: "owner", Name: "o"}}}
		if i == 2 {
			n.owners[0].Controller = true
		}
		g.put(n)
		kept = append(kept, n)
	}
	if &kept[0].owners[0] != &kept[1].owners[0] {
		t.Error("two that have the same owner hold it twice")
	}
	if &kept[0].owners[0] == &kept[2].owners[0] || !kept[2].owners[0].Controller {
		t.Error("a reference that is another is held with those that are not")
	}
}
