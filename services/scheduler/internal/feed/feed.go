package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/scheduler/internal/claim"
	"kubus.dev/services/scheduler/internal/shape"
)

var (
	pods    = proto.GroupResource{Resource: "pods"}
	nodes   = proto.GroupResource{Resource: "nodes"}
	claims  = proto.GroupResource{Resource: "persistentvolumeclaims"}
	volumes = proto.GroupResource{Resource: "persistentvolumes"}
	classes = proto.GroupResource{Group: "storage.k8s.io", Resource: "storageclasses"}
	spaces  = proto.GroupResource{Resource: "namespaces"}
	budgets = proto.GroupResource{Group: "policy", Resource: "poddisruptionbudgets"}
)

// Resources is what the scheduler reads of the log.
func Resources() []proto.GroupResource {
	return append([]proto.GroupResource{pods, nodes}, others...)
}

// others are read before pods: claims are there when the pods that name them are resolved.
var others = []proto.GroupResource{spaces, budgets, classes, volumes, claims}

// Feed follows pods and nodes of a view, and what pods' claims are about.
type Feed struct {
	view   *statelog.View
	shapes *shape.Table
	claims *claim.Catalog
	sinks  []Sink
	log    *zap.Logger
}

// New makes a feed for the sinks, each of which gets every batch, in their order.
func New(view *statelog.View, logger *zap.Logger, sinks ...Sink) *Feed {
	return &Feed{view: view, shapes: shape.NewTable(), claims: claim.New(), sinks: sinks, log: logger}
}

// Shapes is the number of distinct pod shapes in use.
func (f *Feed) Shapes() int { return f.shapes.Len() }

// Run feeds the sinks until ctx ends. The first batch is a reset with all there is.
func (f *Feed) Run(ctx context.Context) error {
	if err := f.view.Ready(ctx); err != nil {
		return nil // ctx ended
	}
	for {
		err := f.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, statelog.ErrExpired) {
			return fmt.Errorf("reading the state log: %w", err)
		}
		f.log.Warn("fell behind the watch window, reading everything again")
	}
}

// watches are those of the resources, in the order in which they are read.
type watches struct {
	nodes, pods *statelog.Watch
	others      []*statelog.Watch
}

// follow loads everything and then waits for changes of any resource.
func (f *Feed) follow(ctx context.Context) error {
	w, err := f.load()
	if err != nil {
		return err
	}
	waits := make([]<-chan struct{}, len(w.others))
	for {
		b := Batch{}
		nodeEvents, nodeWait, err := w.nodes.Poll()
		if err != nil {
			return err
		}
		read := len(nodeEvents)
		for _, e := range nodeEvents {
			b.Changes = f.node(b.Changes, e.Entry)
			b.NodeRevision = e.Entry.Revision()
		}
		for i, watch := range w.others {
			events, wait, err := watch.Poll()
			if err != nil {
				return err
			}
			waits[i], read = wait, read+len(events)
			for _, e := range events {
				f.other(&b, others[i], e.Entry)
			}
		}
		b.VolumeRevision = b.VolumeSeen
		podEvents, podWait, err := w.pods.Poll()
		if err != nil {
			return err
		}
		for _, e := range podEvents {
			b.Changes = f.pod(b.Changes, e.Entry)
			b.PodRevision = e.Entry.Revision()
		}
		b.Changes = f.again(b.Changes)
		if read+len(podEvents) > 0 {
			f.send(b)
			continue
		}
		select {
		case <-nodeWait:
		case <-podWait:
		case <-waits[0]:
		case <-waits[1]:
		case <-waits[2]:
		case <-waits[3]:
		case <-waits[4]:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *Feed) load() (w watches, err error) {
	b := Batch{Reset: true}
	f.claims = claim.New()
	nodeSnap := f.view.Snapshot(nodes)
	nodeSnap.Ascend("", func(e *statelog.Entry) bool {
		b.Changes = f.node(b.Changes, e)
		return true
	})
	for _, gr := range others {
		snap := f.view.Snapshot(gr)
		snap.Ascend("", func(e *statelog.Entry) bool {
			f.other(&b, gr, e)
			return true
		})
		if gr == spaces || gr == budgets {
			b.SpaceRevision = max(b.SpaceRevision, snap.Revision())
		} else {
			b.VolumeRevision = max(b.VolumeRevision, snap.Revision())
		}
		watch, err := f.view.Watch(gr, snap.Revision())
		if err != nil {
			return w, err
		}
		w.others = append(w.others, watch)
	}
	podSnap := f.view.Snapshot(pods)
	podSnap.Ascend("", func(e *statelog.Entry) bool {
		b.Changes = f.pod(b.Changes, e)
		return true
	})
	b.Changes = f.again(b.Changes)
	b.NodeRevision, b.PodRevision = nodeSnap.Revision(), podSnap.Revision()
	if w.nodes, err = f.view.Watch(nodes, b.NodeRevision); err != nil {
		return w, err
	}
	if w.pods, err = f.view.Watch(pods, b.PodRevision); err != nil {
		return w, err
	}
	f.send(b)
	return w, nil
}

// other takes over one version of what is neither a node nor a pod.
func (f *Feed) other(b *Batch, gr proto.GroupResource, e *statelog.Entry) {
	var c Change
	var err error
	switch gr {
	case spaces:
		c.Space, err = spaceOf(e)
	case budgets:
		c.Budget, err = budgetOf(e)
	default:
		f.stored(gr, e)
		b.VolumeSeen = max(b.VolumeSeen, e.Revision())
		return
	}
	if err != nil {
		f.log.Error("an object cannot be read", zap.Stringer("key", e.Key()), zap.Error(err))
		return
	}
	c.Gone, c.Revision = e.Deleted(), e.Revision()
	b.Changes = append(b.Changes, c)
	b.SpaceRevision = max(b.SpaceRevision, e.Revision())
}

func spaceOf(e *statelog.Entry) (*Space, error) {
	space := &Space{Name: e.Key().Name, Labels: labels.Set{}}
	obj, err := present[metav1.PartialObjectMetadata](e)
	if obj != nil && obj.Labels != nil {
		space.Labels = obj.Labels
	}
	return space, err
}

// budgetOf follows upstream: a nil or empty selector chooses nothing for preemption.
func budgetOf(e *statelog.Entry) (*Budget, error) {
	b := &Budget{Namespace: e.Key().Namespace, Name: e.Key().Name, Chooses: labels.Nothing(), Disrupted: map[string]bool{}}
	obj, err := present[policyv1.PodDisruptionBudget](e)
	if err != nil || obj == nil {
		return b, err
	}
	if chooses, err := metav1.LabelSelectorAsSelector(obj.Spec.Selector); err == nil && !chooses.Empty() {
		b.Chooses = chooses
	}
	b.Allowed = obj.Status.DisruptionsAllowed
	for name := range obj.Status.DisruptedPods {
		b.Disrupted[name] = true
	}
	return b, nil
}

// stored takes over one version of a claim, a volume or a class. What cannot be read is
// as if it were not there: the pods that name it say so.
func (f *Feed) stored(gr proto.GroupResource, e *statelog.Entry) {
	key := e.Key()
	var err error
	switch gr {
	case claims:
		var claim *corev1.PersistentVolumeClaim
		claim, err = present[corev1.PersistentVolumeClaim](e)
		f.claims.SetClaim(key.Namespace+"/"+key.Name, claim)
	case volumes:
		var pv *corev1.PersistentVolume
		pv, err = present[corev1.PersistentVolume](e)
		f.claims.SetVolume(key.Name, pv)
	case classes:
		var class *storagev1.StorageClass
		class, err = present[storagev1.StorageClass](e)
		f.claims.SetClass(key.Name, class)
	}
	if err != nil {
		f.log.Error("an object of storage cannot be read", zap.Stringer("key", key), zap.Error(err))
	}
}

// present decodes what is there; nil is gone.
func present[T any](e *statelog.Entry) (*T, error) {
	if e.Deleted() {
		return nil, nil
	}
	return statelog.Decode[T](e)
}

// again gives pods whose claims changed once more, with what these ask for now.
func (f *Feed) again(changes []Change) []Change {
	for _, pod := range f.claims.Changed() {
		changes = append(changes, Change{Pod: pod, Revision: pod.Revision})
	}
	return changes
}

func (f *Feed) send(b Batch) {
	for _, s := range f.sinks {
		s.Apply(b)
	}
}

// pod reads one version. What cannot be read is logged and left out: one broken
// object must not stop the scheduling of all others.
func (f *Feed) pod(changes []Change, e *statelog.Entry) []Change {
	p, err := f.shapes.Parse(e.Data(), e.Revision())
	if err != nil {
		f.log.Error("a pod cannot be read and will not be scheduled", zap.Stringer("pod", e.Key()), zap.Error(err))
		return changes
	}
	return append(changes, Change{Pod: f.claims.Pod(p, e.Deleted()), Gone: e.Deleted(), Revision: e.Revision()})
}

func (f *Feed) node(changes []Change, e *statelog.Entry) []Change {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: e.Key().Name}}
	var images []shape.Image
	if !e.Deleted() {
		var obj struct {
			Metadata struct {
				Labels map[string]string `json:"labels"`
			} `json:"metadata"`
			Spec struct {
				Taints        []corev1.Taint `json:"taints"`
				Unschedulable bool           `json:"unschedulable"`
			} `json:"spec"`
			Status struct {
				Allocatable      corev1.ResourceList     `json:"allocatable"`
				DeclaredFeatures []string                `json:"declaredFeatures"`
				Images           []corev1.ContainerImage `json:"images"`
			} `json:"status"`
		}
		if err := json.Unmarshal(e.Data(), &obj); err != nil {
			f.log.Error("a node cannot be read and gets no pods", zap.Stringer("node", e.Key()), zap.Error(err))
			return append(changes, Change{Node: n, Gone: true, Revision: e.Revision()})
		}
		n.Labels, n.Spec.Taints, n.Spec.Unschedulable = obj.Metadata.Labels, obj.Spec.Taints, obj.Spec.Unschedulable
		n.Status.Allocatable, n.Status.DeclaredFeatures = obj.Status.Allocatable, obj.Status.DeclaredFeatures
		images = shape.ImagesOf(obj.Status.Images)
	}
	return append(changes, Change{Node: n, Images: images, Gone: e.Deleted(), Revision: e.Revision()})
}
