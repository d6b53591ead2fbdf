// Package object knows the pods and nodes of the cluster, as far as their metrics need it:
// names, labels, and which node runs which pod. It follows the state log.
package object

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// The resources that are followed.
var (
	Pods  = proto.GroupResource{Resource: "pods"}
	Nodes = proto.GroupResource{Resource: "nodes"}
)

// Object is a pod or a node. It never changes.
type Object struct {
	Namespace, Name, UID string
	Labels               labels.Set
	// Node is where a pod is bound, Running that its phase says so.
	Node    string
	Running bool
}

// Catalog is safe for concurrent use.
type Catalog struct {
	log *zap.Logger

	mu    sync.RWMutex
	pods  map[string]map[string]*Object // by namespace and name
	nodes map[string]*Object
	known [2]bool
}

// New makes an empty catalog.
func New(log *zap.Logger) *Catalog {
	return &Catalog{log: log, pods: map[string]map[string]*Object{}, nodes: map[string]*Object{}}
}

// Run follows the log until ctx ends.
func (c *Catalog) Run(ctx context.Context, views *statelog.Views) error {
	group, ctx := errgroup.WithContext(ctx)
	for i, gr := range []proto.GroupResource{Pods, Nodes} {
		group.Go(func() error {
			return statelog.Follow(ctx, views.For(gr), gr, c.Take, func() {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.known[i] = true
			})
		})
	}
	return group.Wait()
}

// Complete says that all there is was read.
func (c *Catalog) Complete() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.known[0] && c.known[1]
}

// Take hears of an object's next state; a nil entry: it is gone.
func (c *Catalog) Take(k proto.Key, e *statelog.Entry) {
	var o *Object
	if e != nil {
		var err error
		if o, err = decode(k, e.Data()); err != nil {
			c.log.Error("an object cannot be read", zap.Stringer("object", k), zap.Error(err))
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.nodes
	if k.GroupResource == Pods {
		if of = c.pods[k.Namespace]; of == nil {
			of = map[string]*Object{}
			c.pods[k.Namespace] = of
		}
	}
	if o != nil {
		of[k.Name] = o
		return
	}
	delete(of, k.Name)
	if k.GroupResource == Pods && len(of) == 0 {
		delete(c.pods, k.Namespace)
	}
}

func decode(k proto.Key, data []byte) (*Object, error) {
	var partial struct {
		Metadata struct {
			UID    string            `json:"uid"`
			Labels map[string]string `json:"labels"`
		} `json:"metadata"`
		Spec struct {
			NodeName string `json:"nodeName"`
		} `json:"spec"`
		Status struct {
			Phase corev1.PodPhase `json:"phase"`
		} `json:"status"`
	}
	if err := json.Unmarshal(data, &partial); err != nil {
		return nil, err
	}
	return &Object{
		Namespace: k.Namespace, Name: k.Name, UID: partial.Metadata.UID, Labels: partial.Metadata.Labels,
		Node: partial.Spec.NodeName, Running: partial.Status.Phase == corev1.PodRunning,
	}, nil
}

// Pod gives a pod, or nil.
func (c *Catalog) Pod(namespace, name string) *Object {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.pods[namespace][name]
}

// Node gives a node, or nil.
func (c *Catalog) Node(name string) *Object {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.nodes[name]
}

// PodsIn lists the pods of a namespace, or of all when it is empty, in the API's order.
func (c *Catalog) PodsIn(namespace string, keep func(*Object) bool) []*Object {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var out []*Object
	if namespace != "" {
		out = appendKept(out, c.pods[namespace], keep)
	} else {
		for _, of := range c.pods {
			out = appendKept(out, of, keep)
		}
	}
	return sorted(out)
}

// AllNodes lists the nodes by name.
func (c *Catalog) AllNodes(keep func(*Object) bool) []*Object {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return sorted(appendKept(nil, c.nodes, keep))
}

func appendKept(out []*Object, of map[string]*Object, keep func(*Object) bool) []*Object {
	for _, o := range of {
		if keep(o) {
			out = append(out, o)
		}
	}
	return out
}

func sorted(list []*Object) []*Object {
	slices.SortFunc(list, func(a, b *Object) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return list
}
