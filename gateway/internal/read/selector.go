package read

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"kubus.dev/proto"
	"kubus.dev/proto/skim"
	"kubus.dev/proto/statelog"
)

// indexes are the fields that a view keeps an index of.
var indexes = map[proto.GroupResource][]string{
	{Resource: "pods"}: {"spec.nodeName"},
}

// direct are the selectable fields that are plain strings at the path of their
// name in the stored document, with what an absent one counts as. They are read
// without decoding; all others come from upstream's attributes of the kind.
var direct = map[proto.GroupResource]map[string]string{
	{Resource: "pods"}: {
		"spec.nodeName": "", "spec.restartPolicy": "", "spec.schedulerName": "", "spec.serviceAccountName": "",
		"status.phase": "", "status.nominatedNodeName": "",
	},
	{Resource: "secrets"}:    {"type": ""},
	{Resource: "namespaces"}: {"status.phase": ""},
	{Resource: "events"}: {
		"involvedObject.kind": "", "involvedObject.namespace": "", "involvedObject.name": "", "involvedObject.uid": "",
		"involvedObject.apiVersion": "", "involvedObject.resourceVersion": "", "involvedObject.fieldPath": "",
		"reason": "", "type": "",
	},
}

func indexFunc(_ proto.GroupResource, field string) statelog.IndexFunc {
	path := strings.Split(field, ".")
	return func(e *statelog.Entry) []string {
		if value, ok := skim.Scalar(skim.Lookup(e.Data(), path...)); ok && value != "" {
			return []string{value}
		}
		return nil
	}
}

// selector says which entries a request is about.
type selector struct {
	c      *collection
	ns     string
	name   string // "": any
	labels labels.Selector
	// fields are the requirements beside name and namespace.
	fields []requirement
	// index names the view's index that finds all candidates for value.
	index, value string
}

type requirement struct {
	field string
	value string
	equal bool
	path  []string // nil: from the kind's attributes
}

func (c *collection) selector(ns string, options *internalversion.ListOptions) *selector {
	s := &selector{c: c, ns: ns}
	if options.LabelSelector != nil && !options.LabelSelector.Empty() {
		s.labels = options.LabelSelector
	}
	if options.FieldSelector == nil {
		return s
	}
	for _, r := range options.FieldSelector.Requirements() {
		equal := r.Operator != "!="
		if r.Field == "metadata.name" && equal && s.name == "" {
			s.name = r.Value
			continue
		}
		q := requirement{field: r.Field, value: r.Value, equal: equal}
		if _, ok := direct[c.gr][r.Field]; ok {
			q.path = strings.Split(r.Field, ".")
		}
		s.fields = append(s.fields, q)
		if equal && r.Value != "" {
			for _, index := range indexes[c.gr] {
				if index == r.Field {
					s.index, s.value = index, r.Value
				}
			}
		}
	}
	return s
}

// all says that nothing but the namespace narrows the selection.
func (s *selector) all() bool { return s.name == "" && s.labels == nil && len(s.fields) == 0 }

// lasting says that an object which is selected was and will be, for as long as it is
// there.
func (s *selector) lasting() bool {
	return s.labels == nil && !slices.ContainsFunc(s.fields, func(r requirement) bool {
		return r.field != "metadata.name" && r.field != "metadata.namespace"
	})
}

// matches decides on an entry of a sealed kind by what is in the clear: labels,
// names and type are.
func (s *selector) matches(e *statelog.Entry) bool {
	key := e.Key()
	if s.ns != "" && key.Namespace != s.ns || s.name != "" && key.Name != s.name {
		return false
	}
	if s.labels != nil && !s.labels.Matches(labels.Set(e.Meta().Labels)) {
		return false
	}
	for i := range s.fields {
		if !s.fields[i].holds(s.c, e) {
			return false
		}
	}
	return true
}

func (r *requirement) holds(c *collection, e *statelog.Entry) bool {
	return (r.get(c, e) == r.value) == r.equal
}

func (r *requirement) get(c *collection, e *statelog.Entry) string {
	switch {
	case r.field == "metadata.name":
		return e.Key().Name
	case r.field == "metadata.namespace":
		return e.Key().Namespace
	case r.path != nil:
		value, _ := skim.Scalar(skim.Lookup(e.Data(), r.path...))
		return value
	}
	return c.attributes(e)[r.field]
}

// attributes gives upstream's selectable fields of an entry, decoded once.
func (c *collection) attributes(e *statelog.Entry) fields.Set {
	if c.kind.Attrs == nil {
		return nil
	}
	item, err := c.cache.get(c.kind, e, formFields, func() (cacheItem, error) {
		opened, err := c.opened(e)
		if err != nil {
			return cacheItem{}, err
		}
		obj, err := c.enc.internal(opened)
		if err != nil {
			return cacheItem{}, err
		}
		_, set, err := c.kind.Attrs(obj)
		if err != nil {
			return cacheItem{}, err
		}
		return cacheItem{fields: set}, nil
	})
	if err != nil {
		return nil
	}
	return item.fields
}
