package controllers

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// names knows what generated names and uids of a scope stand for. It forgets nothing,
// since events and conditions speak of objects that are gone.
type names struct {
	generated map[string]string // name to its base and <generated>
	uids      map[string]string // uid to uid(NAME)
}

func newNames() *names { return &names{map[string]string{}, map[string]string{}} }

func (n *names) clone() *names { return &names{maps.Clone(n.generated), maps.Clone(n.uids)} }

var (
	credential  = regexp.MustCompile(`X509SHA256=[0-9a-f]{64}`)
	uuid        = regexp.MustCompile(`\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`)
	clock       = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| \+0000 UTC|[+-]\d\d:\d\d)( m=\+[\d.]+)?`)
	minutes     = regexp.MustCompile(`-\d{8}\b`)
	address     = regexp.MustCompile(`\b(10\.(200|96|244)\.\d+\.\d+)\b`)
	mount       = regexp.MustCompile(`kube-api-access-[a-z0-9]{5}\b`)
	certificate = regexp.MustCompile(`(?s)-----BEGIN CERTIFICATE-----.*-----END CERTIFICATE-----\n?`)
	version     = regexp.MustCompile(`(resourceVersion: |ResourceVersion:")\d+`)
	refused     = regexp.MustCompile(`(pods "[^"]*-)[bcdfghjklmnpqrstvwxz2456789]{5}(" is forbidden)`)
	seconds     = regexp.MustCompile(`\b\d+(\.\d+)?(m?s|m\d+(\.\d+)?s)\b`)
)

// meet learns the names of an object.
func (n *names) meet(resource string, o Object) {
	if resource == "events" {
		return
	}
	name, base := str(o, "metadata", "name"), str(o, "metadata", "generateName")
	shown := minutes.ReplaceAllString(name, "-<minutes>")
	if base != "" && len(name) == len(base)+5 && strings.HasPrefix(name, base) {
		shown = minutes.ReplaceAllString(base, "-<minutes>-") + "<generated>"
		n.generated[name] = shown
	}
	if uid := str(o, "metadata", "uid"); uid != "" {
		n.uids[uid] = "uid(" + shown + ")"
	}
}

// replacer replaces in texts.
type replacer struct {
	names *strings.Replacer
	uids  map[string]string
}

func (n *names) replacer() *replacer {
	var pairs []string
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(n.generated))) { // a name before those it begins with
		pairs = append(pairs, name, n.generated[name])
	}
	return &replacer{strings.NewReplacer(pairs...), n.uids}
}

func (r *replacer) text(s string) string {
	if len(s) < 5 {
		return s
	}
	s = r.names.Replace(s)
	s = uuid.ReplaceAllStringFunc(s, func(id string) string {
		if shown, ok := r.uids[id]; ok {
			return shown
		}
		return "<uid>"
	})
	s = clock.ReplaceAllString(s, "<time>")
	s = minutes.ReplaceAllString(s, "-<minutes>")
	s = address.ReplaceAllString(s, "<ip>")
	s = refused.ReplaceAllString(s, "${1}<generated>${2}") // one that never was
	s = mount.ReplaceAllString(s, "kube-api-access-<generated>")
	s = credential.ReplaceAllString(s, "X509SHA256=<sum>")
	s = certificate.ReplaceAllString(s, "<certificate>")
	return version.ReplaceAllString(s, "${1}<rv>")
}
