package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// count is how many tests of a group ended how.
type count struct{ passed, failed int }

// group is what failed of one subject.
type group struct {
	area, subject string
	count
	why map[string]int
}

// tables are the results by area, and what failed by subject with the most
// frequent reason.
func tables(results map[string]result) string {
	areas, groups, total := map[string]*count{}, map[string]*group{}, &count{}
	for name, r := range results {
		a, s := area(name), subject(name)
		if areas[a] == nil {
			areas[a] = &count{}
		}
		g := groups[a+s]
		if g == nil {
			g = &group{area: a, subject: s, why: map[string]int{}}
			groups[a+s] = g
		}
		for _, c := range []*count{areas[a], total, &g.count} {
			if r.passed {
				c.passed++
			} else {
				c.failed++
			}
		}
		if !r.passed {
			g.why[r.why]++
		}
	}
	var b strings.Builder
	b.WriteString("| area | passed | failed | tests |\n|---|---|---|---|\n")
	for _, a := range slices.Sorted(maps.Keys(areas)) {
		row(&b, a, areas[a])
	}
	row(&b, "**all**", total)
	b.WriteString("\n| what failed | failed of | the failure, or the most frequent one |\n|---|---|---|\n")
	for _, g := range slices.SortedFunc(maps.Values(groups), func(x, y *group) int {
		return cmp.Or(cmp.Compare(x.area, y.area), cmp.Compare(x.subject, y.subject))
	}) {
		if g.failed > 0 {
			fmt.Fprintf(&b, "| %s %s | %d of %d | %s |\n", g.area, g.subject, g.failed, g.passed+g.failed, cell(g.reason()))
		}
	}
	return b.String()
}

func row(b *strings.Builder, name string, c *count) {
	fmt.Fprintf(b, "| %s | %d | %d | %d |\n", name, c.passed, c.failed, c.passed+c.failed)
}

func (g *group) reason() string {
	best := ""
	for _, why := range slices.Sorted(maps.Keys(g.why)) {
		if best == "" || g.why[why] > g.why[best] {
			best = why
		}
	}
	return best
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
