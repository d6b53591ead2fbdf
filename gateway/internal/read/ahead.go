package read

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto/statelog"
)

// aheadOf is how many entries of a list are decoded together.
const aheadOf = 500

// ahead decodes the entries of a list some hundred at a time, for a kind whose codec
// gains by it: each conversion of a custom resource may be a request to a webhook.
type ahead struct {
	c       *collection
	batch   resource.Batch // nil: nothing is gained
	entries []*statelog.Entry
	objects map[*statelog.Entry]runtime.Object // of the present hundreds
}

func (c *collection) ahead(p *page) *ahead {
	batch, _ := c.kind.Codec.(resource.Batch)
	return &ahead{c: c, batch: batch, entries: p.entries}
}

func noAhead(int) error { return nil }

// decode makes sure that the objects of entry i and of some behind it are there.
func (a *ahead) decode(i int) error {
	if a.batch == nil || i%aheadOf != 0 {
		return nil
	}
	entries := a.entries[i:min(i+aheadOf, len(a.entries))]
	documents := make([][]byte, len(entries))
	for j, e := range entries {
		documents[j] = e.JSON()
	}
	objects, err := a.batch.DecodeMany(documents)
	if err != nil {
		return fmt.Errorf("%s: %w", a.c.gr, err)
	}
	a.objects = make(map[*statelog.Entry]runtime.Object, len(entries))
	for j, e := range entries {
		a.objects[e] = objects[j]
	}
	return nil
}

// encode is decode, with what came of it in the cache.
func (a *ahead) encode(i int) error {
	if a.batch == nil || i%aheadOf != 0 {
		return nil
	}
	var missing []*statelog.Entry
	for _, e := range a.entries[i:min(i+aheadOf, len(a.entries))] {
		if !a.c.enc.direct(e) && !a.c.cache.has(a.c.kind, e, a.c.enc.versionForm()) {
			missing = append(missing, e)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	part := ahead{c: a.c, batch: a.batch, entries: missing}
	if err := part.decode(0); err != nil {
		return err
	}
	for _, e := range missing {
		if _, err := a.c.cache.get(a.c.kind, e, a.c.enc.versionForm(), func() (cacheItem, error) { return a.c.enc.customJSON(e, part.objects[e]) }); err != nil {
			return err
		}
	}
	return nil
}

// object gives what was decoded of an entry; nil where nothing was.
func (a *ahead) object(e *statelog.Entry) runtime.Object {
	if a == nil {
		return nil
	}
	return a.objects[e]
}
