package differential

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Difference is one thing that two answers to a step do not share.
type Difference struct {
	// Aspect is "code", "header NAME", "events", or the path of a field, such as
	// ".items[0].spec.nodeName".
	Aspect string
	// Upstream and Kubus are what each said; Absent where it said nothing.
	Upstream, Kubus string
}

// Absent is the value of a field that is not there.
const Absent = "(absent)"

// Class is the aspect without the positions in lists: what a group of findings shares.
func (d Difference) Class() string { return position.ReplaceAllString(d.Aspect, "[]") }

var position = regexp.MustCompile(`\[\d+\]`)

// Compare lists how two answers differ. Where the code is another one, only the
// reasons are told.
func Compare(upstream, kubus *Answer) []Difference {
	c := &comparison{}
	if upstream.Failed != kubus.Failed {
		c.add("connection", or(upstream.Failed, said(upstream)), or(kubus.Failed, said(kubus)))
		return c.found
	}
	if upstream.Code != kubus.Code {
		c.add("code", said(upstream), said(kubus))
		return c.found
	}
	for _, name := range names(upstream.Header, kubus.Header) {
		a, inA := upstream.Header[name]
		b, inB := kubus.Header[name]
		if a != b {
			c.add("header "+name, shownHeader(a, inA), shownHeader(b, inB))
		}
	}
	c.values("", upstream.Body, kubus.Body)
	if a, b := kinds(upstream.Events), kinds(kubus.Events); a != b {
		c.add("events", a, b)
		return c.found
	}
	for i := range upstream.Events {
		c.values(fmt.Sprintf("events[%d]", i), upstream.Events[i], kubus.Events[i])
	}
	return c.found
}

type comparison struct{ found []Difference }

func (c *comparison) add(aspect, a, b string) {
	c.found = append(c.found, Difference{aspect, a, b})
}

func (c *comparison) values(path string, a, b any) {
	switch x := a.(type) {
	case map[string]any:
		if y, ok := b.(map[string]any); ok {
			c.maps(path, x, y)
			return
		}
	case []any:
		if y, ok := b.([]any); ok {
			c.lists(path, x, y)
			return
		}
	}
	if !same(a, b) {
		c.add(or(path, "body"), text(a), text(b))
	}
}

func same(a, b any) bool {
	switch a.(type) {
	case map[string]any, []any:
		return false
	}
	switch b.(type) {
	case map[string]any, []any:
		return false
	}
	return a == b
}

func (c *comparison) maps(path string, a, b map[string]any) {
	both := keys(a)
	for k := range b {
		if _, ok := a[k]; !ok {
			both = append(both, k)
		}
	}
	slices.Sort(both)
	for _, k := range both {
		x, inA := a[k]
		y, inB := b[k]
		at := path + "." + k
		switch {
		case inA && inB:
			c.values(at, x, y)
		case inA:
			c.add(at, text(x), Absent)
		default:
			c.add(at, Absent, text(y))
		}
	}
}

func (c *comparison) lists(path string, a, b []any) {
	if len(a) != len(b) {
		c.add(path, text(without(a, b)), text(without(b, a)))
		return
	}
	for i := range a {
		c.values(fmt.Sprintf("%s[%d]", path, i), a[i], b[i])
	}
}

// without gives the items of a list that another lacks, and how many there are in all.
func without(a, b []any) []any {
	there := map[string]int{}
	for _, v := range b {
		there[string(encode(v))]++
	}
	out := []any{fmt.Sprintf("%d items, of them here alone:", len(a))}
	for _, v := range a {
		if k := string(encode(v)); there[k] > 0 {
			there[k]--
		} else {
			out = append(out, v)
		}
	}
	return out
}

// said is an answer's code and its reason.
func said(a *Answer) string {
	switch body := a.Body.(type) {
	case map[string]any:
		if message, ok := body["message"].(string); ok {
			return fmt.Sprintf("%d %s", a.Code, message)
		}
	case string:
		return strings.TrimSpace(fmt.Sprintf("%d %s", a.Code, body))
	}
	return fmt.Sprint(a.Code)
}

func shownHeader(value string, is bool) string {
	if !is {
		return Absent
	}
	return value
}

func kinds(events []any) string {
	var out []string
	for _, e := range events {
		m, _ := e.(map[string]any)
		obj, _ := m["object"].(map[string]any)
		meta, _ := obj["metadata"].(map[string]any)
		out = append(out, strings.TrimSpace(fmt.Sprint(m["type"], " ", or(fmt.Sprint(meta["name"]), ""))))
	}
	return fmt.Sprint(out)
}

// longest is how much of a value a difference shows.
const longest = 600

var angles = strings.NewReplacer(`\u003c`, "<", `\u003e`, ">")

func text(v any) string {
	data, ok := v.(string)
	if !ok {
		encoded, err := json.Marshal(v)
		if err != nil {
			return fmt.Sprint(v)
		}
		data = angles.Replace(string(encoded))
	}
	if len(data) > longest {
		return data[:longest] + "…"
	}
	return data
}

func names(a, b map[string]string) []string {
	var out []string
	for k := range a {
		out = append(out, k)
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}
