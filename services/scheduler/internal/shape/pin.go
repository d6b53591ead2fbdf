package shape

import "kubus.dev/proto/skim"

// unpin takes the one node that an affinity demands by name out of it, as a DaemonSet's pods
// demand theirs, so that pods that differ in this alone are told to be alike. It appends what
// is left to out and gives the name; an affinity that demands no node so is left as it is: not
// appended, and the name is "".
//
// Upstream's NodeAffinity.PreFilter looks at the name alone, too, where each term has one.
// Terms beside others stay, since whether one of them fits depends on the rest of each.
func unpin(out, affinity []byte) (rest []byte, name string) {
	var node, required, terms, term, fields []byte
	var more bool // there is something else in the node affinity
	if !each(affinity, func(key string, value []byte) {
		if key == "nodeAffinity" {
			node = value
		}
	}) || node == nil || !each(node, func(key string, value []byte) {
		if key == requiredTerms {
			required = value
		} else {
			more = true
		}
	}) || required == nil || !each(required, func(key string, value []byte) {
		if key == "nodeSelectorTerms" {
			terms = value
		}
	}) || terms == nil {
		return out, ""
	}
	if term = only(terms); term == nil {
		return out, ""
	}
	expressions := []byte(nil)
	if !each(term, func(key string, value []byte) {
		switch key {
		case "matchFields":
			fields = value
		case "matchExpressions":
			expressions = value
		}
	}) {
		return out, ""
	}
	if name = named(fields); name == "" {
		return out, ""
	}
	if string(expressions) == "[]" || string(expressions) == "null" {
		expressions = nil
	}
	w := members{out: append(out, '{')}
	each(affinity, func(key string, value []byte) {
		if key != "nodeAffinity" {
			w.raw([]byte(key), value)
		}
	})
	if more || expressions != nil {
		w.name([]byte("nodeAffinity"))
		inner := members{out: append(w.out, '{')}
		each(node, func(key string, value []byte) {
			if key != requiredTerms {
				inner.raw([]byte(key), value)
			}
		})
		if expressions != nil {
			inner.name([]byte(requiredTerms))
			inner.out = append(append(append(inner.out, `{"nodeSelectorTerms":[{"matchExpressions":`...), expressions...), `}]}`...)
		}
		w.out = append(inner.out, '}')
	}
	return append(w.out, '}'), name
}

const requiredTerms = "requiredDuringSchedulingIgnoredDuringExecution"

// each calls fn with the members of an object; false: it is none.
func each(object []byte, fn func(key string, value []byte)) bool {
	return skim.Object(object, func(key, value []byte) error {
		fn(string(key), value)
		return nil
	}) == nil
}

// only gives the element of an array that has one, else nil.
func only(array []byte) (one []byte) {
	n := 0
	err := skim.Array(array, func(element []byte) error {
		one = element
		n++
		return nil
	})
	if err != nil || n != 1 {
		return nil
	}
	return one
}

// named is the name that matchFields demand, or "" where they demand something else, or more.
func named(fields []byte) (name string) {
	if fields == nil {
		return ""
	}
	requirement := only(fields)
	if requirement == nil {
		return ""
	}
	var key, operator string
	var values []byte
	if !each(requirement, func(k string, value []byte) {
		switch k {
		case "key":
			key = skim.String(value)
		case "operator":
			operator = skim.String(value)
		case "values":
			values = value
		}
	}) || key != "metadata.name" || operator != "In" || values == nil {
		return ""
	}
	return skim.String(only(values))
}

// at is the shape of pods that demand a node by its name beside what s says.
func (s *Shape) at(name string) *Shape {
	pinned := *s
	pinned.base, pinned.pin, pinned.Pinned, pinned.PerNode = s, name, []string{name}, true
	return &pinned
}

// Kind is what the shapes have in common that differ in the node they demand by name: the
// shape without it, or s itself.
func (s *Shape) Kind() *Shape {
	if s.base != nil {
		return s.base
	}
	return s
}
