package differential

import (
	"encoding/json"
	"regexp"
)

// Seen is what one side has shown in a scenario: of each object, by its name, the
// last state.
type Seen struct {
	objects  map[string]map[string]any
	token    string // of the last list that had more
	revision string // of the last list that marks it
}

func newSeen() *Seen { return &Seen{objects: map[string]map[string]any{}} }

// Object gives a copy of the object as it was shown last; nil if it was not.
func (s *Seen) Object(name string) map[string]any {
	obj := s.objects[name]
	if obj == nil {
		return nil
	}
	return clone(obj)
}

// learn takes in an answer's document; marks says that it is a list to come back to.
func (s *Seen) learn(doc any, marks bool) {
	obj, ok := doc.(map[string]any)
	if !ok {
		return
	}
	meta, ok := obj["metadata"].(map[string]any)
	if !ok {
		return
	}
	if token, ok := meta["continue"].(string); ok && token != "" {
		s.token = token
	}
	if items, ok := obj["items"].([]any); ok {
		if marks {
			s.revision, _ = meta["resourceVersion"].(string)
		}
		for _, item := range items {
			s.meet(item)
		}
		return
	}
	s.meet(obj)
}

func (s *Seen) meet(doc any) {
	obj, ok := doc.(map[string]any)
	if !ok {
		return
	}
	meta, _ := obj["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	_, versioned := meta["resourceVersion"].(string)
	if _, full := meta["uid"]; name == "" || !full || !versioned {
		return // a dry run's, or no object
	}
	if kind, _ := obj["kind"].(string); kind == "PartialObjectMetadata" || kind == "Scale" {
		return
	}
	s.objects[name] = obj
	// An object with a generated name is also known by what it was generated from.
	if base, _ := meta["generateName"].(string); base != "" {
		s.objects[base] = obj
	}
}

var placeholder = regexp.MustCompile(`\$\{[a-z]+(:[^}]*)?\}`)

// fill replaces the placeholders; what is not known becomes "unknown".
func (s *Seen) fill(text string) string {
	return placeholder.ReplaceAllStringFunc(text, func(p string) string {
		p = p[2 : len(p)-1]
		switch {
		case p == "continue":
			return or(s.token, "unknown")
		case p == "rv":
			return or(s.revision, "unknown")
		}
		for prefix, field := range map[string]string{"uid:": "uid", "rv:": "resourceVersion", "name:": "name"} {
			if len(p) > len(prefix) && p[:len(prefix)] == prefix {
				meta, _ := s.objects[p[len(prefix):]]["metadata"].(map[string]any)
				value, _ := meta[field].(string)
				return or(value, "unknown")
			}
		}
		return "unknown"
	})
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// clone copies a JSON document.
func clone(doc map[string]any) map[string]any {
	var out map[string]any
	if err := json.Unmarshal(encode(doc), &out); err != nil {
		panic("a document of JSON is not one: " + err.Error())
	}
	return out
}

// encode gives the JSON of a document; bytes and strings are taken as they are.
func encode(body any) []byte {
	switch b := body.(type) {
	case nil:
		return nil
	case []byte:
		return b
	case string:
		return []byte(b)
	}
	data, err := json.Marshal(body)
	if err != nil {
		panic("a body of a step is no JSON: " + err.Error())
	}
	return data
}
