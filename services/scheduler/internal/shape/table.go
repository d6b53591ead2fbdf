package shape

import (
	"fmt"
	"runtime"
	"sync"
	"weak"

	"kubus.dev/proto/skim"
)

// Table interns shapes. A shape that no pod uses any more is dropped by the
// garbage collector, and its entry with it.
type Table struct {
	mu      sync.Mutex
	key     []byte // scratch
	entries map[string]weak.Pointer[Shape]
}

// NewTable gives an empty table.
func NewTable() *Table { return &Table{entries: map[string]weak.Pointer[Shape]{}} }

// Len is the number of shapes in use (or not yet collected).
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.entries)
}

// shape finds or makes the shape of a raw pod spec, and gives the node it names.
func (t *Table) shape(spec []byte) (*Shape, string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key, node, err := signature(t.key[:0], spec)
	t.key = key
	if err != nil {
		return nil, "", err
	}
	if s := t.entries[string(key)].Value(); s != nil {
		return s, node, nil
	}
	pod, err := decodeSpec(key)
	if err != nil {
		return nil, "", fmt.Errorf("pod spec: %w", err)
	}
	s := New(pod)
	t.intern(string(key), s)
	return s, node, nil
}

func (t *Table) intern(key string, s *Shape) {
	p := weak.Make(s)
	t.entries[key] = p
	runtime.AddCleanup(s, func(key string) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.entries[key] == p {
			delete(t.entries, key)
		}
	}, key)
}

// signature writes a spec that holds only what matters for scheduling, as JSON:
// it is both the key to intern by and what is decoded on the first sight of it.
// Names, images, environment, probes and volumes other than claims are left out,
// so that they are never decoded, and so that the random name of a token volume
// makes no shape of its own. Two spellings of one spec only cost a second Shape.
func signature(out, spec []byte) (sig []byte, node string, err error) {
	w := members{out: append(out, '{')}
	err = skim.Object(spec, func(key, value []byte) error {
		switch string(key) {
		case "nodeName":
			node = skim.String(value)
		case "nodeSelector", "affinity", "tolerations", "priority", "preemptionPolicy", "schedulerName",
			"overhead", "resources", "topologySpreadConstraints", "resourceClaims":
			w.raw(key, value)
		case "schedulingGates":
			if string(value) != "[]" {
				w.raw(key, value)
			}
		case "containers", "initContainers":
			return w.list(key, value, "resources", "ports", "restartPolicy")
		case "volumes":
			return w.list(key, value, "persistentVolumeClaim", "ephemeral")
		}
		return nil
	})
	return append(w.out, '}'), node, err
}

// members writes the members of a JSON object, with the commas between them.
type members struct {
	out   []byte
	after bool
}

func (w *members) raw(key, value []byte) {
	w.name(key)
	w.out = append(w.out, value...)
}

func (w *members) name(key []byte) {
	if w.after {
		w.out = append(w.out, ',')
	}
	w.after = true
	w.out = append(append(append(w.out, '"'), key...), '"', ':')
}

// list writes an array of objects with only the named members of each. Volumes
// keep nothing else, so one that is no claim becomes {}; a claim keeps its name.
func (w *members) list(key, value []byte, keep ...string) error {
	w.name(key)
	w.out = append(w.out, '[')
	first := true
	err := skim.Array(value, func(element []byte) error {
		if !first {
			w.out = append(w.out, ',')
		}
		first = false
		inner := members{out: append(w.out, '{')}
		var name []byte
		err := skim.Object(element, func(k, v []byte) error {
			if string(k) == "name" {
				name = v
			}
			for _, want := range keep {
				if string(k) == want {
					inner.raw(k, v)
				}
			}
			return nil
		})
		if string(key) == "volumes" && inner.after && name != nil {
			inner.raw([]byte("name"), name)
		}
		w.out = append(inner.out, '}')
		return err
	})
	w.out = append(w.out, ']')
	return err
}
