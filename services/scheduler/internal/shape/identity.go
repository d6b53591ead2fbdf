package shape

import (
	"runtime"
	"weak"

	"k8s.io/apimachinery/pkg/labels"

	"kubus.dev/proto/skim"
)

// Identity is what selectors of other pods see of a pod: its namespace and its labels. The
// pods of one ReplicaSet share one. It is immutable.
type Identity struct {
	Namespace string
	Labels    labels.Set
}

// identity finds or makes the identity of a pod; raw is its labels as JSON, or nil.
func (t *Table) identity(namespace string, raw []byte) (*Identity, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.key = append(append(append(t.key[:0], namespace...), 0), raw...)
	if id := t.identities[string(t.key)].Value(); id != nil {
		return id, nil
	}
	key := string(t.key)
	id := &Identity{Namespace: namespace}
	if len(raw) > 0 && string(raw) != "null" {
		id.Labels = labels.Set{}
		if err := skim.Object(raw, func(k, v []byte) error {
			id.Labels[string(k)] = skim.String(v)
			return nil
		}); err != nil {
			return nil, err
		}
	}
	p := weak.Make(id)
	t.identities[key] = p
	runtime.AddCleanup(id, func(key string) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.identities[key] == p {
			delete(t.identities, key)
		}
	}, key)
	return id, nil
}
