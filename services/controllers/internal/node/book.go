package node

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// book keeps which node has which ranges. It is a state machine; calls must not overlap.
type book struct {
	families []*parts
	has      map[string][]netip.Prefix // as the nodes say
	given    map[string][]netip.Prefix // and do not say yet
	waiting  map[string]bool           // nodes for which there was nothing
}

func newBook(ranges []Range) *book {
	b := &book{has: map[string][]netip.Prefix{}, given: map[string][]netip.Prefix{}, waiting: map[string]bool{}}
	for _, r := range ranges {
		b.families = append(b.families, newParts(r))
	}
	return b
}

// Has notes what a node has. Of that, foreign is not the cluster's; woken are nodes for
// which there may be a range now.
func (b *book) Has(node string, ranges []netip.Prefix) (foreign []netip.Prefix, woken []string) {
	old := b.has[node]
	if slices.Equal(old, ranges) {
		return nil, nil
	}
	for _, r := range ranges {
		ours := false
		for _, family := range b.families {
			ours = family.Occupy(r) || ours
		}
		if !ours {
			foreign = append(foreign, r)
		}
	}
	b.release(old)
	b.release(b.given[node])
	lost := len(old) > 0 || len(b.given[node]) > 0 && !slices.Equal(b.given[node], ranges)
	delete(b.given, node)
	delete(b.waiting, node)
	b.has[node] = ranges
	if !lost {
		return foreign, nil
	}
	return foreign, b.wake()
}

// Forget gives back what a node had. Nodes for which there may be a range now are named.
func (b *book) Forget(node string) (woken []string) {
	held := len(b.has[node]) + len(b.given[node])
	b.release(b.has[node])
	b.release(b.given[node])
	delete(b.has, node)
	delete(b.given, node)
	delete(b.waiting, node)
	if held == 0 {
		return nil
	}
	return b.wake()
}

// Give chooses a range of each family for a node, the same until the node has it.
func (b *book) Give(node string) ([]netip.Prefix, error) {
	if given := b.given[node]; given != nil {
		return given, nil
	}
	given := make([]netip.Prefix, 0, len(b.families))
	var problems []error
	for _, family := range b.families {
		part, ok := family.Take()
		if !ok {
			problems = append(problems, fmt.Errorf("all %d parts /%d of %s are taken", family.Size(), family.Bits, family.Whole))
			continue
		}
		given = append(given, part)
	}
	if len(problems) > 0 {
		b.release(given)
		return nil, errors.Join(problems...)
	}
	b.given[node] = given
	delete(b.waiting, node)
	return given, nil
}

// Wait has a node wait for a range, and tells whether it did not before.
func (b *book) Wait(node string) bool {
	if b.waiting[node] {
		return false
	}
	b.waiting[node] = true
	return true
}

func (b *book) release(ranges []netip.Prefix) {
	for _, r := range ranges {
		for _, family := range b.families {
			family.Release(r)
		}
	}
}

func (b *book) wake() []string { return slices.Sorted(maps.Keys(b.waiting)) }
