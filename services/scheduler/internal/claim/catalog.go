// Package claim knows the claims, volumes and storage classes of the log, and resolves
// what the claims of a pod ask of its node. The feed owns a Catalog; what it resolves
// becomes part of the pod's shape, so that all who place pods see it, and a pod whose
// claims changed is looked at again like any whose spec did.
//
// Start with Catalog.Resolve. Messages and rules are those of upstream's VolumeBinding
// and VolumeRestrictions plugins. A Catalog is not safe for concurrent use.
package claim

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"weak"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"kubus.dev/proto/volume"
	"kubus.dev/services/scheduler/internal/shape"
)

// Catalog is what the log holds of storage, and the pods that have to do with it.
type Catalog struct {
	claims  map[string]*corev1.PersistentVolumeClaim // namespace/name
	volumes map[string]*corev1.PersistentVolume
	classes map[string]*storagev1.StorageClass

	pending map[string]*shape.Pod      // by UID: pods with claims that have no node, with their own shape
	waiting map[string]map[string]bool // claim: UIDs of pending pods
	users   map[string]map[string]bool // claim: UIDs of pods that run with it
	using   map[string]*shape.Pod      // by UID: pods that run with claims, with their own shape
	touched map[string]bool            // UIDs of pods to resolve again
	all     bool                       // all of them

	drivers    map[string]*storagev1.CSIDriver
	capacities map[string]*storagev1.CSIStorageCapacity
	limits     map[string][]string // by CSINode: drivers with limits there
	limited    map[string]int      // by driver: on how many nodes it has limits

	shapes shapes
}

// New is empty.
func New() *Catalog {
	return &Catalog{
		claims: map[string]*corev1.PersistentVolumeClaim{}, volumes: map[string]*corev1.PersistentVolume{}, classes: map[string]*storagev1.StorageClass{},
		pending: map[string]*shape.Pod{}, waiting: map[string]map[string]bool{}, users: map[string]map[string]bool{}, using: map[string]*shape.Pod{},
		drivers: map[string]*storagev1.CSIDriver{}, capacities: map[string]*storagev1.CSIStorageCapacity{}, limits: map[string][]string{}, limited: map[string]int{},
		touched: map[string]bool{}, shapes: shapes{made: map[made]weak.Pointer[shape.Shape]{}},
	}
}

// SetClaim takes over a claim's version; nil: it is gone.
func (c *Catalog) SetClaim(key string, claim *corev1.PersistentVolumeClaim) {
	put(c.claims, key, claim)
	maps.Copy(c.touched, c.waiting[key])
	maps.Copy(c.touched, c.users[key])
}

// SetVolume takes over a volume's version; nil: it is gone.
func (c *Catalog) SetVolume(name string, pv *corev1.PersistentVolume) {
	old := c.volumes[name]
	put(c.volumes, name, pv)
	for _, v := range []*corev1.PersistentVolume{old, pv} {
		if v == nil {
			continue
		}
		if ref := v.Spec.ClaimRef; ref != nil {
			maps.Copy(c.touched, c.waiting[ref.Namespace+"/"+ref.Name])
			maps.Copy(c.touched, c.users[ref.Namespace+"/"+ref.Name])
		}
	}
	// Who waits for a volume of the class may want it, or may not have it any more.
	for key, pods := range c.waiting {
		claim := c.claims[key]
		if claim == nil {
			continue
		}
		wants := func(v *corev1.PersistentVolume) bool {
			return v != nil && (claim.Spec.VolumeName == name || claim.Spec.VolumeName == "" && volume.ClassOfVolume(v) == volume.ClassOf(claim))
		}
		if wants(old) || wants(pv) {
			maps.Copy(c.touched, pods)
		}
	}
}

// SetClass takes over a storage class's version; nil: it is gone.
func (c *Catalog) SetClass(name string, class *storagev1.StorageClass) {
	put(c.classes, name, class)
	c.all = true
}

func put[T any](m map[string]*T, key string, value *T) {
	if value == nil {
		delete(m, key)
		return
	}
	m[key] = value
}

// Pod takes over a pod's version and gives it with its claims resolved.
func (c *Catalog) Pod(pod *shape.Pod, gone bool) *shape.Pod {
	if len(pod.Shape.Volumes) == 0 {
		return pod
	}
	c.forget(pod.UID)
	if gone {
		return pod
	}
	keys := make([]string, len(pod.Shape.Volumes))
	for i := range pod.Shape.Volumes {
		keys[i] = pod.Namespace + "/" + pod.Shape.Volumes[i].ClaimName(pod.Name)
	}
	switch {
	case pod.Occupies():
		c.using[pod.UID] = pod
		c.note(c.users, keys, pod.UID)
		return c.occupying(pod)
	case !pod.Pending():
		return pod
	}
	c.pending[pod.UID] = pod
	c.note(c.waiting, keys, pod.UID)
	return c.resolved(pod)
}

func (c *Catalog) note(index map[string]map[string]bool, keys []string, uid string) {
	for _, key := range keys {
		if index[key] == nil {
			index[key] = map[string]bool{}
		}
		index[key][uid] = true
	}
}

// forget drops what is known of a pod; others may have its claims now.
func (c *Catalog) forget(uid string) {
	if pod := c.using[uid]; pod != nil {
		for i := range pod.Shape.Volumes {
			key := pod.Namespace + "/" + pod.Shape.Volumes[i].ClaimName(pod.Name)
			drop(c.users, key, uid)
			maps.Copy(c.touched, c.waiting[key])
		}
		delete(c.using, uid)
	}
	if pod := c.pending[uid]; pod != nil {
		for i := range pod.Shape.Volumes {
			drop(c.waiting, pod.Namespace+"/"+pod.Shape.Volumes[i].ClaimName(pod.Name), uid)
		}
		delete(c.pending, uid)
	}
}

func drop(index map[string]map[string]bool, key, uid string) {
	delete(index[key], uid)
	if len(index[key]) == 0 {
		delete(index, key)
	}
}

// Changed gives the pods whose claims may ask for something else by now.
func (c *Catalog) Changed() []*shape.Pod {
	var out []*shape.Pod
	if c.all {
		for _, pod := range c.pending {
			out = append(out, c.resolved(pod))
		}
		for _, pod := range c.using {
			out = append(out, c.occupying(pod))
		}
	} else {
		for uid := range c.touched {
			if pod := c.pending[uid]; pod != nil {
				out = append(out, c.resolved(pod))
			} else if pod := c.using[uid]; pod != nil {
				out = append(out, c.occupying(pod))
			}
		}
	}
	c.all = false
	clear(c.touched)
	return out
}

func (c *Catalog) resolved(pod *shape.Pod) *shape.Pod {
	with := *pod
	claims, print := c.Resolve(pod)
	with.Shape = c.shapes.with(pod.Shape, print, claims)
	return &with
}

// Resolve says what a pod's claims ask of its node, and gives a text that is the same
// only when the answer is.
func (c *Catalog) Resolve(pod *shape.Pod) (*shape.Claims, string) {
	out := &shape.Claims{}
	var print strings.Builder
	var immediate bool
	var lost string
	if problem := c.absent(pod); problem != "" {
		return &shape.Claims{Problem: problem}, problem
	}
	for i := range pod.Shape.Volumes {
		v := &pod.Shape.Volumes[i]
		key := pod.Namespace + "/" + v.ClaimName(pod.Name)
		claim := c.claims[key]
		if problem := problemOf(pod, v, claim); problem != "" {
			return &shape.Claims{Problem: problem}, problem
		}
		fmt.Fprintf(&print, "%s %s;", claim.UID, claim.Spec.VolumeName)
		if slices.Contains(claim.Spec.AccessModes, corev1.ReadWriteOncePod) {
			out.Sole = append(out.Sole, key)
			if len(c.users[key]) > 0 { // when it leaves, the pod is looked at again
				print.WriteString("exclusive;")
			}
		}
		if v, counts := c.attach(claim); counts {
			out.Attach = append(out.Attach, v)
			fmt.Fprintf(&print, "%v;", v)
		}
		switch {
		case volume.Bound(claim):
			if gone := c.bound(claim, out, &print); gone != "" && lost == "" {
				lost = fmt.Sprintf("persistentvolume %q not found", gone)
			}
		case !c.waits(claim) || claim.Spec.VolumeName != "":
			immediate = true
		default:
			c.unbound(claim, out, &print)
		}
	}
	if immediate {
		const problem = "pod has unbound immediate PersistentVolumeClaims"
		return &shape.Claims{Problem: problem}, problem
	}
	if lost != "" {
		return &shape.Claims{Problem: lost}, lost
	}
	shape.SortBySize(out.Unbound)
	if out.Waits {
		out.Unbound = nil // one after the other: what is chosen already decides where
		fmt.Fprintf(&print, "waits %s", out.Node)
	}
	return out, print.String()
}

// absent names the first claim that does not exist: upstream's VolumeRestrictions looks for
// all of them before VolumeBinding asks how they are.
func (c *Catalog) absent(pod *shape.Pod) string {
	for i := range pod.Shape.Volumes {
		v := &pod.Shape.Volumes[i]
		if claim := c.claims[pod.Namespace+"/"+v.ClaimName(pod.Name)]; claim == nil && !v.Ephemeral {
			return problemOf(pod, v, claim)
		}
	}
	return ""
}

func problemOf(pod *shape.Pod, v *shape.Volume, claim *corev1.PersistentVolumeClaim) string {
	name := v.ClaimName(pod.Name)
	switch {
	case claim == nil && v.Ephemeral:
		return fmt.Sprintf("waiting for ephemeral volume controller to create the persistentvolumeclaim %q", name)
	case claim == nil:
		return fmt.Sprintf("persistentvolumeclaim %q not found", name)
	case claim.Status.Phase == corev1.ClaimLost:
		return fmt.Sprintf("persistentvolumeclaim %q bound to non-existent persistentvolume %q", name, claim.Spec.VolumeName)
	case claim.DeletionTimestamp != nil:
		return fmt.Sprintf("persistentvolumeclaim %q is being deleted", name)
	}
	if owner := metav1.GetControllerOfNoCopy(claim); v.Ephemeral && (owner == nil || string(owner.UID) != pod.UID) {
		return fmt.Sprintf("PVC %s/%s was not created for pod %s/%s (pod is not owner)", pod.Namespace, name, pod.Namespace, pod.Name)
	}
	return ""
}

func (c *Catalog) waits(claim *corev1.PersistentVolumeClaim) bool {
	class := c.classes[volume.ClassOf(claim)]
	return class != nil && class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
}

// bound gives the name of the claim's volume when it is not there.
func (c *Catalog) bound(claim *corev1.PersistentVolumeClaim, out *shape.Claims, print *strings.Builder) (gone string) {
	pv := c.volumes[claim.Spec.VolumeName]
	if pv == nil {
		return claim.Spec.VolumeName
	}
	fmt.Fprintf(print, "%s;", pv.UID)
	if at := placeOf(pv); at != nil {
		out.Bound = append(out.Bound, at)
	}
	out.Zones = append(out.Zones, shape.ZonesOf(pv.Labels)...)
	fmt.Fprintf(print, "%v;", out.Zones)
	if pv.Spec.NodeAffinity != nil { // it may be changed
		fmt.Fprintf(print, "%v;", pv.Spec.NodeAffinity.Required)
	}
	return ""
}

func (c *Catalog) unbound(claim *corev1.PersistentVolumeClaim, out *shape.Claims, print *strings.Builder) {
	class := c.classes[volume.ClassOf(claim)]
	node, selected := claim.Annotations[volume.SelectedNode]
	u := shape.Unbound{
		Claim: claim, Topologies: class.AllowedTopologies,
		Provision: class.Provisioner != "" && class.Provisioner != volume.NoProvisioner,
	}
	fmt.Fprintf(print, "%s %s;", claim.ResourceVersion, class.ResourceVersion)
	for _, name := range slices.Sorted(maps.Keys(c.volumes)) {
		pv := c.volumes[name]
		ref := pv.Spec.ClaimRef
		switch {
		case ref != nil && ref.UID != "" && volume.Refers(pv, claim): // chosen; the controllers complete it
			out.Waits = true
			return
		case ref == nil && volume.ClassOfVolume(pv) == class.Name, ref != nil && volume.Refers(pv, claim):
			u.Candidates = append(u.Candidates, shape.Candidate{Volume: pv, Place: placeOf(pv)})
			fmt.Fprintf(print, "%s %s;", pv.UID, pv.ResourceVersion)
		}
	}
	if selected {
		out.Waits, out.Node = true, node
		return
	}
	if u.Provision {
		c.room(&u, class, print)
	}
	out.Unbound = append(out.Unbound, u)
}

// placeOf is where a volume can be used; nil is everywhere. What cannot be read is nowhere.
func placeOf(pv *corev1.PersistentVolume) *nodeaffinity.NodeSelector {
	if pv.Spec.NodeAffinity == nil || pv.Spec.NodeAffinity.Required == nil {
		return nil
	}
	selector, err := nodeaffinity.NewNodeSelector(pv.Spec.NodeAffinity.Required)
	if err != nil {
		selector, _ = nodeaffinity.NewNodeSelector(&corev1.NodeSelector{}) // matches nothing
	}
	return selector
}

// shapes interns what is resolved, as shape.Table does: pods that ask for the same are
// one group.
type shapes struct {
	mu   sync.Mutex // the garbage collector takes entries away
	made map[made]weak.Pointer[shape.Shape]
}

type made struct {
	base  *shape.Shape
	print string
}

func (s *shapes) with(base *shape.Shape, print string, claims *shape.Claims) *shape.Shape {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := made{base, print}
	if old := s.made[key].Value(); old != nil {
		return old
	}
	fresh := base.With(claims)
	p := weak.Make(fresh)
	s.made[key] = p
	runtime.AddCleanup(fresh, func(key made) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.made[key] == p {
			delete(s.made, key)
		}
	}, key)
	return fresh
}
