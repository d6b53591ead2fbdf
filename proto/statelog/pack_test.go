package statelog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"kubus.dev/proto"
)

// What is packed is what it was, whatever the objects have in common.
func TestPackedObjectsAreWhatTheyWere(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	noise := func(n int) string {
		text := make([]byte, n)
		for i := range text {
			text[i] = "0123456789abcdef"[r.IntN(16)]
		}
		return string(text)
	}
	for name, object := range map[string]func(i int) string{
		"alike": func(i int) string {
			return fmt.Sprintf(`{"metadata":{"name":"p-%d","uid":"%s"},"spec":{"containers":[{"name":"app","image":"registry.example.com/app:v1","resources":{"requests":{"cpu":"10m","memory":"16Mi"}}}],"restartPolicy":"Always"}}`, i, noise(36))
		},
		"small": func(i int) string { return fmt.Sprintf(`{"metadata":{"name":"p-%d"}}`, i) },
		"of many sizes": func(i int) string {
			return fmt.Sprintf(`{"data":"%s","metadata":{"name":"p-%d"}}`, noise(r.IntN(2000)+i%200/199*70_000), i)
		},
		"like one for long, then like another": func(i int) string {
			return fmt.Sprintf(`{"metadata":{"name":"p-%d"},"data":"%s"}`, i, bytes.Repeat([]byte(fmt.Sprint(i/300, noise(8))), 40))
		},
		"without metadata": func(i int) string { return fmt.Sprintf(`{"data":"%s"}`, noise(200)) },
	} {
		c := newCollection(proto.GroupResource{}, 0, nil)
		c.keeps = briefWindow
		var entries, plain []*Entry
		before, after := 0, 0
		for i := range 600 {
			data := object(i)
			key := proto.Key{Name: fmt.Sprint("p-", i)}
			e := NewEntry(key, uint64(i+1), []byte(data), false)
			c.apply(e)
			entries, plain = append(entries, e), append(plain, NewEntry(key, uint64(i+1), []byte(data), false))
			before, after = before+len(data), after+len(e.data)
		}
		for i, e := range entries {
			if !bytes.Equal(e.Data(), plain[i].Data()) || !bytes.Equal(e.JSON(), plain[i].JSON()) || e.len() != len(plain[i].data) || e.Meta().UID != plain[i].Meta().UID || !json.Valid(e.JSON()) {
				t.Fatalf("%s: object %d is another when it was packed", name, i)
			}
		}
		if name == "alike" && 2*after > before {
			t.Errorf("%d bytes of objects that are alike take %d", before, after)
		}
	}
}

func TestWhatOthersWatchIsNotPacked(t *testing.T) {
	t.Parallel()
	c := newCollection(proto.GroupResource{}, 0, nil)
	data := []byte(`{"metadata":{"name":"a"},"data":"` + string(bytes.Repeat([]byte("a"), 1000)) + `"}`)
	e := NewEntry(proto.Key{Name: "a"}, 1, data, false)
	c.apply(e)
	if &e.Data()[0] != &data[0] {
		t.Error("the bytes were copied")
	}
}
