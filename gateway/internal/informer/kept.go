package informer

import (
	"sync"

	"k8s.io/apimachinery/pkg/runtime"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// keptMost is how many decoded objects an informer keeps.
const keptMost = 1024

// kept holds decoded objects for as long as they are the newest. The zero value is
// empty. Safe for concurrent use.
type kept struct {
	mu      sync.RWMutex
	objects map[proto.Key]keptObject
}

// keptObject is what one version decoded to while its kind was kind.
type keptObject struct {
	entry *statelog.Entry
	kind  *resource.Kind
	obj   runtime.Object
}

func (k *kept) get(e *statelog.Entry, kind *resource.Kind) runtime.Object {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if o := k.objects[e.Key()]; o.entry == e && o.kind == kind {
		return o.obj
	}
	return nil
}

// put keeps an object, in place of any other when there are too many.
func (k *kept) put(e *statelog.Entry, kind *resource.Kind, obj runtime.Object) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.objects == nil {
		k.objects = map[proto.Key]keptObject{}
	}
	key := e.Key()
	if _, ok := k.objects[key]; !ok && len(k.objects) >= keptMost {
		for other := range k.objects {
			delete(k.objects, other)
			break
		}
	}
	k.objects[key] = keptObject{e, kind, obj}
}
