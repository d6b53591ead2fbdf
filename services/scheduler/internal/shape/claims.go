package shape

import (
	"maps"
	"slices"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"kubus.dev/proto/volume"
)

// Volume is a volume of the pod behind which there is a claim.
type Volume struct {
	Name      string // of the volume
	Claim     string // "" for an ephemeral one: its claim is called after pod and volume
	Ephemeral bool
}

// ClaimName is the claim behind the volume of a pod of that name.
func (v *Volume) ClaimName(pod string) string {
	if v.Ephemeral {
		return pod + "-" + v.Name
	}
	return v.Claim
}

func volumesOf(spec *corev1.PodSpec) []Volume {
	var out []Volume
	for i := range spec.Volumes {
		switch v := &spec.Volumes[i]; {
		case v.PersistentVolumeClaim != nil:
			out = append(out, Volume{Name: v.Name, Claim: v.PersistentVolumeClaim.ClaimName})
		case v.Ephemeral != nil:
			out = append(out, Volume{Name: v.Name, Ephemeral: true})
		}
	}
	return out
}

// Claims is what the claims of one pod ask of its node, as of some revision of the log.
// It is immutable.
//
//	Unbound ──the planner writes the claims──▶ Waits, at Node ──they are bound──▶ Bound
//	   ▲                                          │
//	   └──────────── provisioning failed ─────────┘
type Claims struct {
	// Problem, when not "", says in upstream's words why no node can be chosen yet.
	Problem string
	// Waits: the node is chosen and the claims are being bound; nothing is to be decided.
	// Node is where, "" when the volumes say so by themselves; the pod holds room there.
	Waits bool
	Node  string
	// Bound are the places of the volumes that are bound already; all must match.
	Bound []*nodeaffinity.NodeSelector
	// Zones are labels of bound volumes that nodes in zones must have, with one of the values.
	Zones []Zone
	// Sole are claims, as namespace/name, that only one pod may have at a time.
	Sole []string
	// Attach are volumes that count against what a driver can have on a node.
	Attach []Attach
	// Unbound are claims that wait for their first consumer's node, the smallest first.
	Unbound []Unbound
}

// Attach is a volume of a CSI driver.
type Attach struct {
	Driver string
	ID     string // tells it from the driver's others
	Needs  bool   // nodes without the driver are out of the question
}

// Zone is a zone or region label of a volume.
type Zone struct {
	Key    string
	Values []string
}

// zoneLabels are upstream's topologyLabels of VolumeZone; the old ones stand for the new.
var zoneLabels = map[string]string{
	corev1.LabelTopologyZone: corev1.LabelTopologyZone, corev1.LabelTopologyRegion: corev1.LabelTopologyRegion,
	corev1.LabelFailureDomainBetaZone: corev1.LabelTopologyZone, corev1.LabelFailureDomainBetaRegion: corev1.LabelTopologyRegion,
}

// ZonesOf reads a volume's labels; several values of one are parted by "__".
func ZonesOf(set map[string]string) []Zone {
	var out []Zone
	for _, key := range slices.Sorted(maps.Keys(zoneLabels)) {
		if value, ok := set[key]; ok {
			out = append(out, Zone{key, strings.Split(value, "__")})
		}
	}
	return out
}

// InZone tells whether the node is in the zones of all bound volumes. A node without zones is.
func (c *Claims) InZone(node *corev1.Node) bool {
	if len(c.Zones) == 0 {
		return true
	}
	zoned := false
	for key := range zoneLabels {
		_, has := node.Labels[key]
		zoned = zoned || has
	}
	return !zoned || !slices.ContainsFunc(c.Zones, func(z Zone) bool {
		value, has := node.Labels[z.Key]
		if !has {
			value, has = node.Labels[zoneLabels[z.Key]]
		}
		return !has || !slices.Contains(z.Values, value)
	})
}

// Unbound is a claim that is bound when its first consumer has a node.
type Unbound struct {
	Claim      *corev1.PersistentVolumeClaim
	Candidates []Candidate
	// Provision: a volume can be made, on nodes that Topologies match. With Tells the driver
	// says where it has room: on nodes that one of Room matches.
	Provision  bool
	Topologies []corev1.TopologySelectorTerm
	Tells      bool
	Room       []Room
}

// Room is where a driver tells of enough capacity, and of how much in all.
type Room struct {
	Nodes labels.Selector
	Bytes int64
}

// room gives the one that a node reaches, nil for none.
func (u *Unbound) room(node *corev1.Node) *Room {
	at := slices.IndexFunc(u.Room, func(r Room) bool { return r.Nodes.Matches(labels.Set(node.Labels)) })
	if at < 0 {
		return nil
	}
	return &u.Room[at]
}

// Lack is why there is no volume for a claim on a node. The zero value is no lack.
type Lack uint8

// The lacks.
const (
	NoLack   Lack = iota
	NoVolume      // none fits, none can be made
	NoSpace       // one could be made, but for the space
)

// provide tells whether a volume can be made for a node.
func (u *Unbound) provide(node *corev1.Node) Lack {
	switch {
	case !u.Provision || !inTopology(u.Topologies, node):
		return NoVolume
	case u.Tells && u.room(node) == nil:
		return NoSpace
	}
	return NoLack
}

// Candidate is a volume that could serve a claim.
type Candidate struct {
	Volume *corev1.PersistentVolume
	Place  *nodeaffinity.NodeSelector // nil: any node
}

// Binding is what is to be written for a claim once its pod's node is chosen: a volume
// for it, or with a nil Volume the node, so that one is made.
type Binding struct {
	Claim  *corev1.PersistentVolumeClaim
	Volume *corev1.PersistentVolume
}

// Reach tells whether the bound volumes can be used on a node.
func (c *Claims) Reach(node *corev1.Node) bool {
	return !slices.ContainsFunc(c.Bound, func(s *nodeaffinity.NodeSelector) bool { return !s.Match(node) })
}

// Choose finds a volume, or a way to make one, for each unbound claim on a node. Volumes that
// exist are looked for first, for all claims; a lack tells of the first claim without any.
func (c *Claims) Choose(node *corev1.Node) (bindings []Binding, lack Lack) {
	taken := map[string]bool{}
	for i := range c.Unbound {
		u := &c.Unbound[i]
		pv := u.match(node, taken)
		if pv == nil {
			if lack := u.provide(node); lack != NoLack {
				return nil, lack
			}
		} else {
			taken[pv.Name] = true
		}
		bindings = append(bindings, Binding{u.Claim, pv})
	}
	return bindings, NoLack
}

// Fill is what claims ask of a class's storage, and what there is of it, in bytes.
type Fill struct{ Requested, Capacity int64 }

// Fills is what the unbound claims make of storage on a node, by class: of the volumes that they
// would get, or when there are none, of the capacity that drivers tell of.
func (c *Claims) Fills(node *corev1.Node) map[string]Fill {
	bindings, lack := c.Choose(node)
	if lack != NoLack {
		return nil
	}
	fills := map[string]Fill{}
	for _, b := range bindings {
		if b.Volume != nil {
			f := fills[volume.ClassOf(b.Claim)]
			fills[volume.ClassOf(b.Claim)] = Fill{f.Requested + volume.Request(b.Claim).Value(), f.Capacity + b.Volume.Spec.Capacity.Storage().Value()}
		}
	}
	if len(fills) > 0 {
		return fills
	}
	for i := range c.Unbound {
		u := &c.Unbound[i]
		if room := u.room(node); room != nil { // one for all claims of the class
			class := volume.ClassOf(u.Claim)
			fills[class] = Fill{fills[class].Requested + volume.Request(u.Claim).Value(), room.Bytes}
		}
	}
	return fills
}

func (u *Unbound) match(node *corev1.Node, taken map[string]bool) *corev1.PersistentVolume {
	volumes := make([]*corev1.PersistentVolume, len(u.Candidates))
	place := make(map[string]*nodeaffinity.NodeSelector, len(u.Candidates))
	for i, candidate := range u.Candidates {
		volumes[i], place[candidate.Volume.Name] = candidate.Volume, candidate.Place
	}
	pv, err := volume.Match(u.Claim, volumes, func(pv *corev1.PersistentVolume) bool {
		at := place[pv.Name]
		return at == nil || at.Match(node)
	}, true, taken)
	if err != nil {
		return nil // a selector that cannot be read matches nothing
	}
	return pv
}

// inTopology follows upstream's MatchTopologySelectorTerms: any term, all its keys.
func inTopology(terms []corev1.TopologySelectorTerm, node *corev1.Node) bool {
	if len(terms) == 0 {
		return true
	}
	return slices.ContainsFunc(terms, func(term corev1.TopologySelectorTerm) bool {
		return len(term.MatchLabelExpressions) > 0 && !slices.ContainsFunc(term.MatchLabelExpressions, func(r corev1.TopologySelectorLabelRequirement) bool {
			value, has := node.Labels[r.Key]
			return !has || !slices.Contains(r.Values, value)
		})
	})
}

// SortBySize puts the claims that ask for least first, so that each gets the smallest fit.
func SortBySize(unbound []Unbound) {
	sort.SliceStable(unbound, func(i, j int) bool {
		return volume.Request(unbound[i].Claim).Cmp(*volume.Request(unbound[j].Claim)) < 0
	})
}

// With is the shape with what is known of its claims.
func (s *Shape) With(c *Claims) *Shape {
	with := *s
	with.Claims = c
	return &with
}

// Placeable tells whether a node can be looked for at all.
func (s *Shape) Placeable() bool { return s.Obstacle() == "" && !s.Waits() }

// Obstacle says why no node can be looked for, in the words of the pod's condition.
func (s *Shape) Obstacle() string {
	switch {
	case len(s.Missing) > 0:
		return s.unsupported()
	case s.Pinned != nil && len(s.Pinned) == 0:
		return "pod affinity terms conflict"
	case len(s.Volumes) > 0 && s.Claims == nil:
		return "the pod's claims are not known yet"
	case s.Claims != nil:
		return s.Claims.Problem
	}
	return ""
}

// Waits tells that the pod has its node in all but name: its claims are being bound.
func (s *Shape) Waits() bool { return s.Claims != nil && s.Claims.Waits }

// HoldsAt is the node where a waiting pod holds room, or "".
func (s *Shape) HoldsAt() string {
	if s.Waits() {
		return s.Claims.Node
	}
	return ""
}

// Unbound tells whether the pod's node decides about claims.
func (s *Shape) Unbound() bool { return s.Claims != nil && len(s.Claims.Unbound) > 0 }
