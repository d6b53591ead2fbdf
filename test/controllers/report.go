package controllers

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// Report writes what was found as Markdown: what nobody explained, in groups, the
// largest first, then what is known.
func (r *Result) Report(w io.Writer) error {
	out := &strings.Builder{}
	groups := r.groups()
	fmt.Fprintf(out, "%d sequences, %d steps, %d states of objects compared after them. %d differences nobody has explained, in %d groups.\n\n", r.Sequences, r.Steps, r.Objects, r.Open(), len(groups))
	fmt.Fprintf(out, "| suite | sequences | differences: open | known |\n|---|---|---|---|\n")
	for _, s := range r.suites() {
		fmt.Fprintf(out, "| %s | %d | %d | %d |\n", s.name, len(s.sequences), s.open, s.known)
	}
	fmt.Fprintln(out)
	for i, g := range groups {
		fmt.Fprintf(out, "### %d. `%s` (%d)\n\n- upstream: `%s`\n- kubus: `%s`\n- in %s\n\n", i+1, inline(g.first.Aspect), g.count, inline(g.first.Upstream), inline(g.first.Kubus), g.where())
	}
	if len(r.Restless) > 0 {
		fmt.Fprintf(out, "Did not settle, or did not reach what was awaited: %s.\n\n", strings.Join(r.Restless, "; "))
	}
	fmt.Fprintf(out, "### Known\n\n| id | differences | why |\n|---|---|---|\n")
	counts, reasons := map[string]int{}, map[string]string{}
	var order []string
	for _, f := range r.Findings {
		if f.Known == nil {
			continue
		}
		if counts[f.Known.ID] == 0 {
			order = append(order, f.Known.ID)
		}
		counts[f.Known.ID]++
		reasons[f.Known.ID] = f.Known.Reason
	}
	slices.Sort(order)
	for _, id := range order {
		fmt.Fprintf(out, "| %s | %d | %s |\n", id, counts[id], reasons[id])
	}
	_, err := io.WriteString(w, out.String())
	return err
}

type suite struct {
	name        string
	sequences   map[string]bool
	open, known int
}

func (r *Result) suites() []*suite {
	by := map[string]*suite{}
	var out []*suite
	get := func(name string) *suite {
		if by[name] == nil {
			by[name] = &suite{name: name, sequences: map[string]bool{}}
			out = append(out, by[name])
		}
		return by[name]
	}
	for _, s := range r.Played {
		get(s.Suite).sequences[s.Name] = true
	}
	for _, f := range r.Findings {
		if f.Known != nil {
			get(f.Sequence.Suite).known++
		} else {
			get(f.Sequence.Suite).open++
		}
	}
	slices.SortFunc(out, func(a, b *suite) int { return strings.Compare(a.name, b.name) })
	return out
}

// group is what findings of one sort have in common.
type group struct {
	first *Finding
	count int
	steps []string
}

// where names the first places that show it.
func (g *group) where() string {
	if n := len(g.steps); n > 5 {
		return strings.Join(g.steps[:5], "; ") + fmt.Sprintf(" and %d more", n-5)
	}
	return strings.Join(g.steps, "; ")
}

var (
	number = regexp.MustCompile(`\d+`)
	object = regexp.MustCompile(`^(\S+) \S+`)
)

// groups are the findings that nobody explained.
func (r *Result) groups() []*group {
	by := map[string]*group{}
	var out []*group
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Known != nil {
			continue
		}
		key := strings.Join([]string{object.ReplaceAllString(f.Class(), "$1"), general(f.Upstream, f), general(f.Kubus, f)}, "\x00")
		if by[key] == nil {
			by[key] = &group{first: f}
			out = append(out, by[key])
		}
		by[key].count++
		by[key].steps = append(by[key].steps, f.Sequence.Name+": "+f.Step)
	}
	slices.SortStableFunc(out, func(a, b *group) int { return cmp.Compare(b.count, a.count) })
	return out
}

// general takes out of a text what tells one sequence's from another's.
func general(s string, f *Finding) string {
	if len(s) > 160 {
		s = s[:160]
	}
	return number.ReplaceAllString(strings.ReplaceAll(s, f.Sequence.Name, "SELF"), "N")
}

func inline(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, strings.ReplaceAll(s, "`", "'"))
	if len(s) > 500 {
		s = s[:500] + "…"
	}
	return s
}
