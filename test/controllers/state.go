package controllers

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"kubus.dev/test/differential"
)

// State is what is in a scope, in comparable form: by "RESOURCE NAME" all objects of
// that name, of which there are several where names are generated. What was told of an
// object is under "events KIND/NAME".
type State map[string][]any

// Objects counts them.
func (s State) Objects() int {
	n := 0
	for _, list := range s {
		n += len(list)
	}
	return n
}

// state makes it.
func (n *names) state(objects map[Key]Object) State {
	r := n.replacer()
	out := State{}
	told := map[string]map[string]bool{}
	for k, o := range objects {
		if k.Resource == "events" {
			of := "events " + r.text(str(o, "involvedObject", "kind")+"/"+str(o, "involvedObject", "name"))
			if told[of] == nil {
				told[of] = map[string]bool{}
			}
			told[of][r.event(o)] = true
			continue
		}
		id := k.Resource + " " + minutes.ReplaceAllString(r.text(k.Name), "-<minutes>")
		if k.Namespace != "" && strings.Contains(k.Namespace, "-") {
			id = k.Resource + " " + k.Namespace + "/" + r.text(k.Name)
		}
		out[id] = append(out[id], r.object(k.Resource, o))
	}
	for id, docs := range out {
		out[id] = ordered(docs)
	}
	for of, said := range told {
		var docs []any
		for s := range said {
			docs = append(docs, s)
		}
		out[of] = ordered(docs)
	}
	return out
}

// ordered sorts by what the items say.
func ordered(docs []any) []any {
	slices.SortFunc(docs, func(a, b any) int { return strings.Compare(encode(a), encode(b)) })
	return docs
}

func encode(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(data)
}

const combined = "(combined from similar events): "

// event is what one says, without how often.
func (r *replacer) event(e Object) string {
	source := str(e, "source", "component")
	if source == "" {
		source = str(e, "reportingComponent")
	}
	return fmt.Sprintf("%s %s %s: %s", source, str(e, "type"), str(e, "reason"), seconds.ReplaceAllString(r.text(strings.TrimPrefix(str(e, "message"), combined)), "<seconds>"))
}

// object is one without what only one server can know.
func (r *replacer) object(resource string, o Object) any {
	out := Object{}
	for k, v := range o {
		out[k] = r.value(k, v)
	}
	meta, _ := out["metadata"].(Object)
	generation, observed := num(o, "metadata", "generation"), at(o, "status", "observedGeneration")
	for _, k := range []string{"uid", "resourceVersion", "managedFields", "creationTimestamp", "generation", "name", "selfLink"} {
		delete(meta, k)
	}
	if f, ok := observed.(float64); ok {
		out["status"].(Object)["observedGeneration"] = "behind"
		if int(f) == generation {
			out["status"].(Object)["observedGeneration"] = "current"
		}
	}
	switch resource {
	case "secrets":
		out["data"] = fmt.Sprint(len(keysOf(o["data"])), " keys")
	case "pods":
		// Which of the nodes a pod of many is on hangs on the order in which others went.
		if spec, ok := out["spec"].(Object); ok && spec["nodeName"] != nil && strings.HasSuffix(r.text(str(o, "metadata", "name")), "<generated>") && owner(o) != "DaemonSet" {
			spec["nodeName"] = "<node>"
		}
	case "nodes":
		if spec, ok := out["spec"].(Object); ok {
			for _, k := range []string{"podCIDR", "podCIDRs"} {
				if spec[k] != nil {
					spec[k] = "<range>"
				}
			}
		}
	case "endpoints":
		for _, s := range list(out, "subsets") {
			for _, k := range []string{"addresses", "notReadyAddresses"} {
				if l := list(s, k); l != nil {
					elsewhere(l)
					ordered(l)
				}
			}
		}
	case "endpointslices":
		if l := list(out, "endpoints"); l != nil {
			elsewhere(l)
			ordered(l)
		}
	}
	return out
}

// owner is the kind of an object's controller.
func owner(o Object) string {
	for _, r := range list(o, "metadata", "ownerReferences") {
		if at(r, "controller") == true {
			return str(r, "kind")
		}
	}
	return ""
}

// elsewhere takes the nodes out of addresses of pods of many.
func elsewhere(addresses []any) {
	for _, e := range addresses {
		if e, ok := e.(Object); ok && e["nodeName"] != nil && strings.HasSuffix(str(e, "targetRef", "name"), "<generated>") {
			e["nodeName"] = "<node>"
		}
	}
}

func keysOf(v any) []string {
	m, _ := v.(map[string]any)
	var out []string
	for k := range m {
		out = append(out, k)
	}
	return out
}

func (r *replacer) value(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := Object{}
		for k, x := range v {
			out[r.text(k)] = r.value(k, x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = r.value("", v[i])
		}
		switch key {
		case "conditions":
			return byType(out)
		case "taints", "ownerReferences", "finalizers":
			return ordered(out)
		}
		return out
	case string:
		switch key {
		case "token", "certificate", "request":
			return "<" + key + ">"
		case "resourceVersion":
			return "<rv>"
		}
		return r.text(v)
	case float64:
		if key == "nodePort" || key == "healthCheckNodePort" {
			return "<port>"
		}
	}
	return v
}

// byType gives conditions by what they are about.
func byType(conditions []any) any {
	out := Object{}
	for _, c := range conditions {
		kind := str(c, "type")
		if kind == "" || out[kind] != nil {
			return ordered(conditions)
		}
		out[kind] = c
	}
	return out
}

// Compare lists how two states differ. An aspect is "RESOURCE NAME FIELD", with
// "count" for a field where there are more on one side, and "told" for events.
func Compare(upstream, kubus State) []differential.Difference {
	var out []differential.Difference
	ids := map[string]bool{}
	for id := range upstream {
		ids[id] = true
	}
	for id := range kubus {
		ids[id] = true
	}
	for id := range ids {
		a, b := upstream[id], kubus[id]
		switch {
		case strings.HasPrefix(id, "events "):
			onlyA, onlyB := without(a, b), without(b, a)
			for _, s := range onlyA {
				out = append(out, differential.Difference{Aspect: id + " told", Upstream: fmt.Sprint(s), Kubus: differential.Absent})
			}
			for _, s := range onlyB {
				out = append(out, differential.Difference{Aspect: id + " told", Upstream: differential.Absent, Kubus: fmt.Sprint(s)})
			}
		case len(a) != len(b):
			out = append(out, differential.Difference{Aspect: id + " count", Upstream: fmt.Sprint(len(a)), Kubus: fmt.Sprint(len(b))})
		default:
			a, b = without(a, b), without(b, a)
			for i := range a {
				for _, d := range differential.Compare(&differential.Answer{Body: a[i]}, &differential.Answer{Body: b[i]}) {
					d.Aspect = id + " " + d.Aspect
					out = append(out, d)
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b differential.Difference) int {
		return strings.Compare(a.Aspect+"\x00"+a.Upstream+"\x00"+a.Kubus, b.Aspect+"\x00"+b.Upstream+"\x00"+b.Kubus)
	})
	return out
}

// without gives the items of a list that another lacks.
func without(a, b []any) []any {
	there := map[string]int{}
	for _, v := range b {
		there[encode(v)]++
	}
	var out []any
	for _, v := range a {
		if k := encode(v); there[k] > 0 {
			there[k]--
		} else {
			out = append(out, v)
		}
	}
	return out
}
