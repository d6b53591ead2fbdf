package differential

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// group is what findings of one sort have in common.
type group struct {
	suite, class, upstream, kubus string
	count                         int
	kinds                         map[string]bool
	example                       *Finding
	known                         *Known
}

// Report writes what was found as Markdown: the findings in groups, the largest
// first, each with one request that shows it, then what is known.
func (r *Result) Report(w io.Writer) error {
	groups := r.groups()
	open := slices.DeleteFunc(slices.Clone(groups), func(g *group) bool { return g.known != nil })
	out := &strings.Builder{}
	fmt.Fprintf(out, "%d scenarios, %d requests to each side. %d differences nobody has explained, in %d groups.\n\n", r.Scenarios, r.Steps, r.Open(), len(open))
	for i, g := range open {
		fmt.Fprintf(out, "### %d. %s: `%s` (%d)\n\n", i+1, g.suite, g.class, g.count)
		f := g.example
		fmt.Fprintf(out, "- upstream: `%s`\n- kubus: `%s`\n", inline(f.Upstream), inline(f.Kubus))
		fmt.Fprintf(out, "- `%s %s`%s, step `%s` of %s\n", f.Step.Method, inline(f.Step.Path), asked(f.Step), f.Step.Name, f.Scenario)
		fmt.Fprintf(out, "- in %s\n\n", listed(g.kinds))
	}
	if len(r.Lacking) > 0 {
		fmt.Fprintf(out, "Not compared: %s.\n\n", strings.Join(r.Lacking, "; "))
	}
	fmt.Fprintf(out, "## Known\n\n| id | differences | why |\n|---|---|---|\n")
	counts, reasons, order := map[string]int{}, map[string]string{}, []string{}
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

// Open counts the differences that nobody has explained.
func (r *Result) Open() int {
	n := 0
	for _, f := range r.Findings {
		if f.Known == nil {
			n++
		}
	}
	return n
}

func (r *Result) groups() []*group {
	byKey := map[string]*group{}
	var out []*group
	for i := range r.Findings {
		f := &r.Findings[i]
		suite, subject, _ := strings.Cut(f.Scenario, "/")
		g := &group{suite: suite, class: general(f.Class(), subject), upstream: general(f.Upstream, subject), kubus: general(f.Kubus, subject), known: f.Known}
		if f.Aspect == "code" {
			g.class += " " + f.Upstream[:3] + " → " + f.Kubus[:3]
		}
		key := strings.Join([]string{g.suite, g.class, g.upstream, g.kubus, fmt.Sprint(f.Known != nil)}, "\x00")
		if byKey[key] == nil {
			g.kinds, g.example = map[string]bool{}, f
			byKey[key] = g
			out = append(out, g)
		}
		byKey[key].count++
		byKey[key].kinds[subject] = true
	}
	slices.SortStableFunc(out, func(a, b *group) int { return cmp.Compare(b.count, a.count) })
	return out
}

var (
	quoted = regexp.MustCompile(`"[^"]*"`)
	number = regexp.MustCompile(`\d+`)
	kindly = regexp.MustCompile(`\b[A-Za-z]+(\.[a-z0-9.]+)? "…"`)
	fields = regexp.MustCompile(`\b[a-z][A-Za-z]*(\.[a-zA-Z]+|\[[^\]]*\])+`)
)

// general takes out of a text what tells one kind's from another's.
func general(s, subject string) string {
	if resource, _, ok := strings.Cut(subject, "/"); ok {
		subject = resource
	}
	if len(s) > 160 {
		s = s[:160]
	}
	s = quoted.ReplaceAllString(s, `"…"`)
	s = kindly.ReplaceAllString(s, `KIND "…"`)
	s = fields.ReplaceAllString(s, "FIELD")
	s = strings.ReplaceAll(s, subject, "RESOURCE")
	return number.ReplaceAllString(s, "N")
}

// asked shows what else makes the request.
func asked(s *Step) string {
	var out []string
	if s.User != "" {
		out = append(out, "as "+s.User)
	}
	for _, name := range []string{"Accept", "Content-Type"} {
		if v := s.Header[name]; v != "" && v != "application/json" {
			out = append(out, name+": "+v)
		}
	}
	if len(s.Body) > 0 {
		out = append(out, "`"+inline(text(string(s.Body)))+"`")
	}
	if len(out) == 0 {
		return ""
	}
	return " (" + strings.Join(out, ", ") + ")"
}

func inline(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' {
			return ' '
		}
		if r < ' ' || r == 0xfffd {
			return '.'
		}
		return r
	}, strings.ReplaceAll(s, "`", "'"))
	if len(s) > 400 {
		s = s[:400] + "…"
	}
	return s
}

func listed(set map[string]bool) string {
	var out []string
	for k := range set {
		out = append(out, k)
	}
	slices.Sort(out)
	if n := len(out); n > 8 {
		return strings.Join(out[:8], ", ") + fmt.Sprintf(" and %d more", n-8)
	}
	return strings.Join(out, ", ")
}
