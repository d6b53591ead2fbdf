package table

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Bound is how much worse a server may be than another one: a share of the other's
// median, or, where Absolute is set, so much of the figure's unit.
type Bound struct {
	Share, Absolute float64
}

func (b Bound) String() string {
	if b.Absolute > 0 {
		return fmt.Sprintf("%g more", b.Absolute)
	}
	return fmt.Sprintf("%g %%", 100*b.Share)
}

// Verdict writes a Markdown table of how one server stands beside another in each figure
// that both have: medians with their range, the change, and whether it is within the
// bound, that of the figure's name or else of "". Where the runs of one server differ
// among themselves by more than the bound, what lies beyond it settles nothing.
func Verdict(w io.Writer, files []string, base, other string, bounds map[string]Bound) error {
	lines, err := readAll(files)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, Judge(lines, base, other, bounds))
	return err
}

// Judge is the table of Verdict.
func Judge(lines []Line, base, other string, bounds map[string]Bound) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| | %s | %s | change | may be worse by | verdict |\n|---|--:|--:|--:|--:|---|\n", base, other)
	var seen []string
	for _, l := range lines {
		if slices.Contains(seen, l.Figure) {
			continue
		}
		seen = append(seen, l.Figure)
		was, is := valuesOf(lines, l.Figure, base), valuesOf(lines, l.Figure, other)
		if len(was) == 0 || len(is) == 0 {
			continue
		}
		bound, ok := bounds[l.Figure]
		if !ok {
			bound = bounds[""]
		}
		change := median(is) - median(was)
		shown := fmt.Sprintf("%+.1f %%", 100*change/median(was))
		if bound.Absolute > 0 {
			shown = fmt.Sprintf("%+.1f", change)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", l.What+", "+l.Unit, cell(was), cell(is), shown, bound, judge(was, is, l.Less, bound))
	}
	return b.String()
}

func valuesOf(lines []Line, figure, server string) (values []float64) {
	for _, l := range lines {
		if l.Figure == figure && l.Server == server {
			values = append(values, l.Value)
		}
	}
	return values
}

func judge(was, is []float64, less bool, bound Bound) string {
	allowed := bound.Absolute
	if allowed == 0 {
		allowed = bound.Share * median(was)
	}
	worse := median(is) - median(was)
	if !less {
		worse = -worse
	}
	noise := max(slices.Max(was)-slices.Min(was), slices.Max(is)-slices.Min(is))
	switch {
	case worse <= allowed:
		return "within"
	case len(was) == 1 || len(is) == 1 || noise > worse:
		return "not settled: runs of one differ by as much, or there is one"
	}
	return "BEYOND"
}
