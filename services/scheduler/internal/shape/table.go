package shape

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"
	"weak"

	"kubus.dev/proto/skim"
)

// Table interns shapes. A shape that no pod uses any more is dropped by the
// garbage collector, and its entry with it.
type Table struct {
	profiles map[string]*Profile // by schedulerName; never changed

	mu      sync.Mutex
	key     []byte // scratch
	entries map[string]weak.Pointer[Shape]

	identities map[string]weak.Pointer[Identity]
}

// NewTable gives an empty table. Pods of a schedulerName that no profile has are none of ours,
// and get the default.
func NewTable(profiles ...*Profile) *Table {
	byName := map[string]*Profile{}
	for _, p := range profiles {
		byName[p.Name] = p
	}
	return &Table{profiles: byName, entries: map[string]weak.Pointer[Shape]{}, identities: map[string]weak.Pointer[Identity]{}}
}

// Len is the number of shapes in use (or not yet collected).
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.entries)
}

// shape finds or makes the shape of a raw pod spec, and gives the node it names. What
// speaks of other pods means something else in another namespace and for other labels.
func (t *Table) shape(spec []byte, id *Identity, labels []byte, spreads bool) (*Shape, string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key, about, err := signature(t.key[:0], spec)
	length, node := len(key), about.node
	profile := t.profiles[about.scheduler]
	if profile == nil {
		profile = normal
	}
	spreads = spreads && len(profile.Defaults) > 0
	if about.speaks || spreads {
		key = append(append(append(key, 0), id.Namespace...), 0)
		key = append(key, labels...)
	}
	if spreads {
		key = append(key, 1)
	}
	t.key = key
	if err != nil {
		return nil, "", err
	}
	s := t.entries[string(key)].Value()
	if s == nil {
		pod, err := decodeSpec(key[:length])
		if err != nil {
			return nil, "", fmt.Errorf("pod spec: %w", err)
		}
		pod.Namespace, pod.Labels = id.Namespace, id.Labels
		s = under(profile, pod, spreads)
		t.intern(string(key), s)
	}
	if about.pin == "" || s.Without(NodeAffinity) {
		return s, node, nil
	}
	key = append(append(key, 2), about.pin...)
	t.key = key
	pinned := t.entries[string(key)].Value()
	if pinned == nil {
		pinned = s.at(about.pin)
		t.intern(string(key), pinned)
	}
	return pinned, node, nil
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
// Names, environment, probes and volumes other than claims, images and shared disks
// are left out, so that they are never decoded, and so that the random name of a token
// volume makes no shape of its own. Two spellings of one spec only cost a second Shape.
func signature(out, spec []byte) (sig []byte, about about, err error) {
	w := members{out: append(out, '{')}
	err = skim.Object(spec, func(key, value []byte) error {
		switch string(key) {
		case "nodeName":
			about.node = skim.String(value)
		case "affinity":
			about.speaks = about.speaks || bytes.Contains(value, []byte(`"podA`)) // podAffinity, podAntiAffinity
			if rest, pin := unpin(nil, value); pin != "" {
				about.pin, value = pin, rest
			}
			w.raw(key, value)
		case "topologySpreadConstraints":
			about.speaks = about.speaks || string(value) != "[]"
			w.raw(key, value)
		case "schedulerName":
			about.scheduler = skim.String(value)
			w.raw(key, value)
		case "nodeSelector", "tolerations", "priority", "preemptionPolicy",
			"overhead", "resources", "resourceClaims", "hostNetwork", "hostUsers":
			w.raw(key, value)
		case "schedulingGates":
			if string(value) != "[]" {
				w.raw(key, value)
			}
		case "containers", "initContainers":
			return w.list(key, value, "image", "resources", "ports", "restartPolicy", "restartPolicyRules", "volumeMounts")
		case "volumes":
			return w.list(key, value, "persistentVolumeClaim", "ephemeral", "image", "gcePersistentDisk", "awsElasticBlockStore", "iscsi", "rbd")
		}
		return nil
	})
	return append(w.out, '}'), about, err
}

// about is what is seen of a spec in passing. speaks tells that the pod may say something of
// other pods; pin is the node that it demands by name, which is not in the signature.
type about struct {
	node, scheduler, pin string
	speaks               bool
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
// keep nothing else, so one of no interest becomes {}; others keep their name. Mounts
// are kept only for an option that not every node knows.
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
				if string(k) == want && (want != "volumeMounts" || bytes.Contains(v, []byte(`"bindMountOptions"`))) {
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
