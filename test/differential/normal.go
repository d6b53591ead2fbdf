package differential

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"
)

// normalizer replaces what only one server can have said by what it stands for.
// Its memory is one scenario: uid(a)#2 is the second uid of an object a, rv(a)#3
// the third version of it.
type normalizer struct {
	host   string
	now    func() time.Time
	tokens map[string]string // raw uid or generated name → token
	counts map[string]int
}

func newNormalizer(base string) *normalizer {
	host := base
	if u, err := url.Parse(base); err == nil {
		host = u.Host
	}
	return &normalizer{host: host, now: time.Now, tokens: map[string]string{}, counts: map[string]int{}}
}

var (
	uuid       = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	clock      = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$`)
	day        = regexp.MustCompile(`^\d{4}-\d\d-\d\d$`)
	clockIn    = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? \+0000 UTC( m=[+-][0-9.]+)?`)
	revisions  = regexp.MustCompile(`(?i)(resource ?version: )\d+( \(\d+\))?|(current: )\d+|(precondition \()\d+(\))|(record \()\d+(\))|(, UID in object meta: )\S*|(StorageError: [^,]*, Code: \d+, Key: )[^,]*|(ResourceVersion in object meta: )\d+`)
	tokenMount = regexp.MustCompile(`\bkube-api-access-[bcdfghjklmnpqrstvwxz2456789]{5}\b`)
	serviceIP  = regexp.MustCompile(`\b10\.96\.\d+\.\d+\b`)
	authority  = regexp.MustCompile(`-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----`)
	versionIn  = regexp.MustCompile(`(resourceVersion\\?":\\?")\d+`)
	credential = regexp.MustCompile(`X509SHA256=[0-9a-f]{64}`)
	age        = regexp.MustCompile(`^(\d+d)?(\d+h)?(\d+m)?(\d+s)?$`)
	hashIn     = regexp.MustCompile(`\bhash=[0-9A-F]{128}`)
	storageKey = regexp.MustCompile(`/registry/[^ ,:"]*`)
)

// document replaces in a whole answer. It changes doc.
func (n *normalizer) document(doc any) any {
	n.meet(doc)
	return n.value("", doc)
}

// meet learns the uids and generated names of the objects in doc, so that they are
// known wherever they stand.
func (n *normalizer) meet(doc any) {
	switch v := doc.(type) {
	case map[string]any:
		if meta, ok := v["metadata"].(map[string]any); ok {
			n.meetMeta(meta)
		}
		for _, key := range keys(v) {
			n.meet(v[key])
		}
	case []any:
		for _, item := range v {
			n.meet(item)
		}
	}
}

func (n *normalizer) meetMeta(meta map[string]any) {
	name, _ := meta["name"].(string)
	base, _ := meta["generateName"].(string)
	shown := name
	if base != "" && len(name) == len(base)+5 && strings.HasPrefix(name, base) {
		shown = n.token(name, base+"<generated>")
	}
	if uid, _ := meta["uid"].(string); uid != "" && uuid.MatchString(uid) {
		n.token(uid, "uid("+uuid.ReplaceAllString(shown, "<uid>")+")") // some names are uids, too
	}
}

// token gives the token of a raw value, a new one of the class at first sight.
func (n *normalizer) token(raw, class string) string {
	if t, ok := n.tokens[raw]; ok {
		return t
	}
	n.counts[class]++
	t := fmt.Sprintf("%s#%d", class, n.counts[class])
	n.tokens[raw] = t
	return t
}

func (n *normalizer) value(key string, doc any) any {
	switch v := doc.(type) {
	case map[string]any:
		return n.object(v)
	case []any:
		switch key {
		case "managedFields":
			sortManagers(v)
		case "resourceRules", "nonResourceRules": // in the order of upstream's memory
			slices.SortStableFunc(v, func(a, b any) int { return strings.Compare(text(a), text(b)) })
		}
		for i := range v {
			v[i] = n.value(key, v[i])
		}
		return v
	case string:
		return n.field(key, v)
	}
	if key == "nodePort" || key == "healthCheckNodePort" {
		return "<port>"
	}
	return doc
}

func (n *normalizer) object(v map[string]any) any {
	// The version of an object is told by the object.
	uid, _ := v["uid"].(string)
	if rv, ok := v["resourceVersion"].(string); ok {
		switch {
		case rv == "" || rv == "0" || strings.Trim(rv, "0123456789") != "":
		case uid != "":
			v["resourceVersion"] = n.token(uid+"/"+rv, "rv of "+n.tokens[uid])
		default:
			v["resourceVersion"] = "<rv>"
		}
	}
	for _, key := range keys(v) {
		if key != "resourceVersion" {
			v[key] = n.value(key, v[key])
		}
	}
	return v
}

func (n *normalizer) field(key, s string) string {
	switch key {
	case "continue":
		if s != "" {
			return "<continue>"
		}
	case "token":
		if strings.Count(s, ".") == 2 && len(s) > 100 {
			return "<token>"
		}
	case "cells":
		if s != "" && age.MatchString(s) {
			return "<age>"
		}
	case "serverAddress":
		return "<server>"
	}
	switch {
	case clock.MatchString(s):
		return n.time(s)
	case day.MatchString(s):
		return n.date(s)
	}
	return n.text(s)
}

// time replaces a time that is near or in the future; others were given.
func (n *normalizer) time(s string) string {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Before(n.now().Add(-time.Hour)) || t.After(n.now().Add(3*365*24*time.Hour)) {
		return s
	}
	if _, fraction, ok := strings.Cut(s, "."); ok {
		return fmt.Sprintf("<time.%d>", len(fraction)-1)
	}
	return "<time>"
}

// date replaces a day that is today, or was while the servers were started.
func (n *normalizer) date(s string) string {
	t, err := time.Parse(time.DateOnly, s)
	if since := n.now().Sub(t); err != nil || since < 0 || since > 48*time.Hour {
		return s
	}
	return "<date>"
}

// text replaces inside of a text.
func (n *normalizer) text(s string) string {
	s = uuid.ReplaceAllStringFunc(s, func(id string) string {
		if t, ok := n.tokens[id]; ok {
			return t
		}
		return "<uid>"
	})
	for raw, token := range n.tokens {
		if strings.Contains(token, "<generated>") {
			s = strings.ReplaceAll(s, raw, token)
		}
	}
	s = clockIn.ReplaceAllStringFunc(s, func(string) string { return "<time>" })
	s = revisions.ReplaceAllString(s, "${1}${3}${4}${6}${8}${9}${10}<rv>${5}${7}")
	s = tokenMount.ReplaceAllString(s, "kube-api-access-<generated>")
	s = serviceIP.ReplaceAllString(s, "<ip>")
	s = authority.ReplaceAllString(s, "<certificate>")
	s = versionIn.ReplaceAllString(s, "${1}<rv>")
	s = credential.ReplaceAllString(s, "X509SHA256=<sum>")
	s = hashIn.ReplaceAllString(s, "hash=<hash>")
	s = storageKey.ReplaceAllString(s, "<key>")
	if before, errs, ok := strings.Cut(s, " errors:\n"); ok { // in the order of a map of Go's
		lines := strings.Split(errs, "\n")
		slices.Sort(lines)
		s = before + " errors:\n" + strings.Join(lines, "\n")
	}
	if n.host != "" {
		s = strings.ReplaceAll(s, n.host, "<server>")
	}
	return s
}

// generatedName matches a name that was generated: the base, of which at most 58
// bytes are taken, and five letters or digits that make no words.
func generatedName(base string) *regexp.Regexp {
	return regexp.MustCompile(`\b` + regexp.QuoteMeta(base[:min(len(base), 58)]) + `[bcdfghjklmnpqrstvwxz2456789]{5}\b`)
}

// sortManagers puts managed fields into an order that does not hang on the second
// in which each was written.
func sortManagers(list []any) {
	id := func(v any) string {
		m, _ := v.(map[string]any)
		return fmt.Sprint(m["manager"], m["operation"], m["apiVersion"], m["subresource"])
	}
	slices.SortStableFunc(list, func(a, b any) int { return strings.Compare(id(a), id(b)) })
}

// unmanaged takes managed fields out of a document.
func unmanaged(doc any) {
	switch v := doc.(type) {
	case map[string]any:
		delete(v, "managedFields")
		for _, below := range v {
			unmanaged(below)
		}
	case []any:
		for _, item := range v {
			unmanaged(item)
		}
	}
}

func keys(m map[string]any) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
