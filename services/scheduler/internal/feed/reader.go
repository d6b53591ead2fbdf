package feed

import (
	"encoding/json"

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

// Reader makes Changes of object versions. It is not safe for concurrent use.
type Reader struct {
	shapes *shape.Table
	claims *claim.Catalog
	served *shape.Served
	chosen map[string]map[string]labels.Set // by namespace and Service
	log    *zap.Logger
}

// NewReader has seen nothing yet. What cannot be read is logged.
func NewReader(logger *zap.Logger, profiles ...*shape.Profile) *Reader {
	return &Reader{shapes: shape.NewTable(profiles...), served: shape.NewServed(), chosen: map[string]map[string]labels.Set{}, claims: claim.New(), log: logger}
}

// Read gives the whole of what there is as one batch: the entries of each resource, of those
// that Resources names.
func (r *Reader) Read(entries map[proto.GroupResource][]*statelog.Entry) Batch {
	b := Batch{Reset: true}
	for _, e := range entries[nodes] {
		b.Changes = r.node(b.Changes, e)
		b.NodeRevision = max(b.NodeRevision, e.Revision())
	}
	for _, gr := range others {
		for _, e := range entries[gr] {
			r.other(&b, gr, e)
		}
	}
	b.VolumeRevision = b.VolumeSeen
	for _, e := range entries[pods] {
		b.Changes = r.pod(b.Changes, e)
		b.PodRevision = max(b.PodRevision, e.Revision())
	}
	b.Changes = r.again(b.Changes)
	return b
}

// other takes over one version of what is neither a node nor a pod.
func (r *Reader) other(b *Batch, gr proto.GroupResource, e *statelog.Entry) {
	var c Change
	var err error
	switch gr {
	case spaces:
		c.Space, err = spaceOf(e)
	case budgets:
		c.Budget, err = budgetOf(e)
	case csiNodes:
		if c.Drivers, err = driversOf(e); c.Drivers != nil {
			r.claims.SetLimits(c.Drivers.Node, c.Drivers.limited())
		}
	default:
		r.stored(gr, e)
		b.VolumeSeen = max(b.VolumeSeen, e.Revision())
		return
	}
	if err != nil {
		r.log.Error("an object cannot be read", zap.Stringer("key", e.Key()), zap.Error(err))
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

func driversOf(e *statelog.Entry) (*Drivers, error) {
	d := &Drivers{Node: e.Key().Name, Limit: map[string]int32{}}
	obj, err := present[storagev1.CSINode](e)
	if err != nil || obj == nil {
		return d, err
	}
	for i := range obj.Spec.Drivers {
		driver := &obj.Spec.Drivers[i]
		d.Limit[driver.Name] = -1
		if driver.Allocatable != nil && driver.Allocatable.Count != nil {
			d.Limit[driver.Name] = *driver.Allocatable.Count
		}
	}
	return d, nil
}

// limited are the drivers with limits.
func (d *Drivers) limited() []string {
	var out []string
	for name, most := range d.Limit {
		if most >= 0 {
			out = append(out, name)
		}
	}
	return out
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
func (r *Reader) stored(gr proto.GroupResource, e *statelog.Entry) {
	key := e.Key()
	var err error
	switch gr {
	case services:
		var service *corev1.Service
		service, err = present[corev1.Service](e)
		r.service(key, service)
	case claims:
		var claim *corev1.PersistentVolumeClaim
		claim, err = present[corev1.PersistentVolumeClaim](e)
		r.claims.SetClaim(key.Namespace+"/"+key.Name, claim)
	case volumes:
		var pv *corev1.PersistentVolume
		pv, err = present[corev1.PersistentVolume](e)
		r.claims.SetVolume(key.Name, pv)
	case csiDrivers:
		var driver *storagev1.CSIDriver
		driver, err = present[storagev1.CSIDriver](e)
		r.claims.SetDriver(key.Name, driver)
	case capacities:
		var capacity *storagev1.CSIStorageCapacity
		capacity, err = present[storagev1.CSIStorageCapacity](e)
		r.claims.SetCapacity(key.Namespace+"/"+key.Name, capacity)
	case classes:
		var class *storagev1.StorageClass
		class, err = present[storagev1.StorageClass](e)
		r.claims.SetClass(key.Name, class)
	}
	if err != nil {
		r.log.Error("an object of storage cannot be read", zap.Stringer("key", key), zap.Error(err))
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
func (r *Reader) again(changes []Change) []Change {
	for _, pod := range r.claims.Changed() {
		changes = append(changes, Change{Pod: pod, Revision: pod.Revision})
	}
	return changes
}

// pod reads one version. What cannot be read is logged and left out: one broken
// object must not stop the scheduling of all others.
func (r *Reader) pod(changes []Change, e *statelog.Entry) []Change {
	p, err := r.shapes.Parse(e.Data(), e.Revision())
	if err != nil {
		r.log.Error("a pod cannot be read and will not be scheduled", zap.Stringer("pod", e.Key()), zap.Error(err))
		return changes
	}
	if p.Pending() && !p.Spreads {
		if chosen := r.choosing(p); chosen != nil {
			p.Shape = r.served.By(p.Shape, p.Namespace, chosen)
		}
	}
	return append(changes, Change{Pod: r.claims.Pod(p, e.Deleted()), Gone: e.Deleted(), Revision: e.Revision()})
}

// service takes over a Service's version. It is for the score of pods that come after it, so
// nobody is looked at again.
func (r *Reader) service(key proto.Key, s *corev1.Service) {
	if s == nil || len(s.Spec.Selector) == 0 {
		if delete(r.chosen[key.Namespace], key.Name); len(r.chosen[key.Namespace]) == 0 {
			delete(r.chosen, key.Namespace)
		}
		return
	}
	if r.chosen[key.Namespace] == nil {
		r.chosen[key.Namespace] = map[string]labels.Set{}
	}
	r.chosen[key.Namespace][key.Name] = s.Spec.Selector
}

// choosing is what the Services that choose a pod choose by, all together; nil for none.
func (r *Reader) choosing(p *shape.Pod) labels.Set {
	var all labels.Set
	for _, by := range r.chosen[p.Namespace] {
		if by.AsSelectorPreValidated().Matches(p.Self.Labels) {
			all = labels.Merge(all, by)
		}
	}
	return all
}

func (r *Reader) node(changes []Change, e *statelog.Entry) []Change {
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
			r.log.Error("a node cannot be read and gets no pods", zap.Stringer("node", e.Key()), zap.Error(err))
			return append(changes, Change{Node: n, Gone: true, Revision: e.Revision()})
		}
		n.Labels, n.Spec.Taints, n.Spec.Unschedulable = obj.Metadata.Labels, obj.Spec.Taints, obj.Spec.Unschedulable
		n.Status.Allocatable, n.Status.DeclaredFeatures = obj.Status.Allocatable, obj.Status.DeclaredFeatures
		images = shape.ImagesOf(obj.Status.Images)
	}
	self := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: n.Labels}}
	return append(changes, Change{Node: n, Self: self, Images: images, Gone: e.Deleted(), Revision: e.Revision()})
}
