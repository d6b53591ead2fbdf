// Package score says how good a node is for a pod that fits: upstream's default
// score plugins with upstream's weights, in upstream's whole points; what these cut off
// tells nodes apart that upstream leaves to chance.
//
// LeastAllocated and BalancedAllocation change with every pod and are computed
// by Usage, ImageLocality by Images, VolumeBinding by Volumes; node affinity and PreferNoSchedule taints depend on the node's class
// only and come from Static; the spreading of a group's pods over nodes and
// zones from Node and Zone. All are pure. Scores of different pods are not
// comparable.
package score

import (
	"math"
	"unique"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/scheduler/internal/node"
	"kubus.dev/services/scheduler/internal/shape"
)

// Unit is one point of upstream's 0 to 100 scale.
const Unit = 64

// Usage is NodeResourcesFit plus BalancedAllocation for s on top of what n holds, up to 100
// points each, times their weights. The points are upstream's, whole ones; what upstream cuts
// off stays as a part of one Unit, to tell apart nodes that upstream leaves to chance.
func Usage(s *shape.Shape, n *node.Node) int64 {
	var sum, rest int64
	if w := s.Profile.Weights.NodeResourcesFit; w > 0 {
		points, cut := fit(s, n)
		sum, rest = sum+w*points*Unit, rest+cut
	}
	if w := s.Profile.Weights.BalancedAllocation; w > 0 {
		points, cut := balanced(s, n)
		sum, rest = sum+w*points*Unit, rest+cut
	}
	return sum + rest/2 // of two parts, so that both stay below a Unit
}

// cutOff is what whole points lack of the exact value, below one Unit.
func cutOff(exact float64, points int64) int64 {
	return min(max(int64((exact-float64(points))*Unit), 0), Unit-1)
}

// fit is the mean of what the profile's resources are worth, by their weights.
func fit(s *shape.Shape, n *node.Node) (points, cut int64) {
	var sum, weights int64
	var exact float64
	for _, r := range s.Profile.Fit {
		used, capacity := load(r.Name, s, n)
		if capacity <= 0 {
			continue
		}
		points, value := worth(s.Profile, used, capacity)
		if s.Profile.Strategy == shape.CapacityRatio && points <= 0 { // upstream leaves it out
			continue
		}
		sum += points * r.Weight
		exact += value * float64(r.Weight)
		weights += r.Weight
	}
	if weights == 0 {
		return 0, 0
	}
	exact /= float64(weights)
	if points = sum / weights; s.Profile.Strategy == shape.CapacityRatio { // upstream rounds this one
		points = int64(math.Round(float64(sum) / float64(weights)))
	}
	return points, cutOff(exact, points)
}

// load is what would be taken of a resource with the pod, and what there is of it.
func load(name string, s *shape.Shape, n *node.Node) (used, capacity int64) {
	switch name {
	case string(corev1.ResourceCPU):
		return n.ScoreMilliCPU + s.FitMilliCPU, n.Allocatable.MilliCPU
	case string(corev1.ResourceMemory):
		return n.ScoreMemory + s.FitMemory, n.Allocatable.Memory
	case string(corev1.ResourceEphemeralStorage):
		return n.Used.Ephemeral + s.Requests.Ephemeral, n.Allocatable.Ephemeral
	}
	want := s.Requests.Scalar(name)
	if want == 0 { // upstream: an extended resource counts for those who ask for it
		return 0, 0
	}
	return n.Used.Scalar(name) + want, n.Allocatable.Scalar(name)
}

// worth is what a resource is worth by the profile's strategy: upstream's whole points, and the
// value that they are cut from.
func worth(p *shape.Profile, used, capacity int64) (points int64, exact float64) {
	used = min(used, capacity)
	part := 100 * float64(used) / float64(capacity)
	switch p.Strategy {
	case shape.MostAllocated:
		return used * 100 / capacity, part
	case shape.CapacityRatio:
		return line(p.Points, used*100/capacity), line(p.Points, part)
	}
	return (capacity - used) * 100 / capacity, 100 - part
}

// line is the height of the line through the points, in whole points cut as upstream cuts them.
func line[N int64 | float64](points []shape.Point, at N) N {
	for i, p := range points {
		if at > N(p.Utilization) {
			continue
		}
		if i == 0 {
			return N(p.Score)
		}
		from := points[i-1]
		return N(from.Score) + N(p.Score-from.Score)*(at-N(from.Utilization))/N(p.Utilization-from.Utilization)
	}
	return N(points[len(points)-1].Score)
}

// balanced is upstream's BalancedAllocation of 1.37: by how much the pod makes
// the fractions of CPU and memory more alike. 75 is neutral.
func balanced(s *shape.Shape, n *node.Node) (points, cut int64) {
	if n.Allocatable.MilliCPU <= 0 || n.Allocatable.Memory <= 0 {
		return 75, 0
	}
	before := 100 * (1 - imbalance(n.Used.MilliCPU, n.Used.Memory, n))
	after := 100 * (1 - imbalance(n.Used.MilliCPU+s.Requests.MilliCPU, n.Used.Memory+s.Requests.Memory, n))
	points = 50 + (50+int64(after)-int64(before))/2
	return points, cutOff(75+(after-before)/2, points)
}

func imbalance(cpu, memory int64, n *node.Node) float64 {
	c := min(float64(cpu)/float64(n.Allocatable.MilliCPU), 1)
	m := min(float64(memory)/float64(n.Allocatable.Memory), 1)
	return max(c-m, m-c) / 2
}

// Upstream's thresholds of ImageLocality.
const (
	leastImage = 23 << 20
	mostImage  = 1000 << 20 // for each container
)

// Images is ImageLocality: up to 100 points for what of the pod's images the node has, by
// size and by the part of the nodes that have it, which spread gives.
func Images(s *shape.Shape, n *node.Node, spread func(unique.Handle[string]) float64) int64 {
	if len(n.Images) == 0 || len(s.Images) == 0 || s.Profile.Weights.ImageLocality == 0 {
		return 0
	}
	var sum int64
	for _, name := range s.Images {
		for i := range n.Images {
			if n.Images[i].Name == name {
				sum += int64(float64(n.Images[i].Size) * spread(name))
				break
			}
		}
	}
	most := int64(mostImage) * int64(len(s.Images))
	return s.Profile.Weights.ImageLocality * Unit * (100 * (min(max(sum, leastImage), most) - leastImage) / (most - leastImage))
}

// Volumes is VolumeBinding: up to 100 points, by the profile's line, for how much of their
// storage the pod's unbound claims would fill, the mean of their classes.
func Volumes(s *shape.Shape, n *node.Node) int64 {
	w := s.Profile.Weights.VolumeBinding
	if w == 0 || !s.Unbound() {
		return 0
	}
	fills := s.Claims.Fills(n.Self)
	if len(fills) == 0 {
		return 0
	}
	var sum int64
	for _, f := range fills {
		part := int64(100)
		if f.Capacity > 0 && f.Requested <= f.Capacity {
			part = f.Requested * 100 / f.Capacity
		}
		sum += line(s.Profile.Storage, part)
	}
	return w * Unit * int64(math.Round(float64(sum)/float64(len(fills))))
}

// Static holds the raw, not yet normalized parts that depend on the class.
type Static struct {
	Affinity int64 // sum of the weights of matching preferred terms
	Taints   int64 // PreferNoSchedule taints that are not tolerated
}

// OfClass computes the raw static parts of n for s.
func OfClass(s *shape.Shape, n *node.Node) Static {
	var raw Static
	if s.Preferred != nil {
		raw.Affinity = s.Preferred.Score(n.Self)
	}
	for i := range n.Class.Taints {
		if t := &n.Class.Taints[i]; t.Effect == corev1.TaintEffectPreferNoSchedule && !s.Tolerates(t) {
			raw.Taints++
		}
	}
	return raw
}

// Points normalizes raw against the highest raw values among the nodes in
// question, 0 to 500 points with the default weights.
func (raw Static) Points(w *shape.Weights, most Static) int64 {
	points := w.TaintToleration * 100 * Unit
	if most.Taints > 0 {
		points -= w.TaintToleration * Unit * (100 * raw.Taints / most.Taints)
	}
	if most.Affinity > 0 {
		points += w.NodeAffinity * Unit * (100 * raw.Affinity / most.Affinity)
	}
	return points
}

// Spread is what a node loses for each pod of the same group it already holds.
// Upstream normalizes by the fullest node; a fixed price gives the same order
// among nodes and can be kept up to date one node at a time.
func Spread(w *shape.Weights, pods int32) int64 {
	return -int64(pods) * w.PodTopologySpread * 10 * Unit
}

// Zone is what a zone gives to each of its nodes: upstream's normalization of
// the pods the group has in it, against the zones with most and fewest.
func Zone(w *shape.Weights, pods, fewest, most int64) int64 {
	if most == 0 {
		return w.PodTopologySpread * 100 * Unit
	}
	return w.PodTopologySpread * 100 * Unit * (most + fewest - pods) / most
}

// Spreading normalizes the raw costs of PodTopologySpread in place, to 0 to 200 points with
// the weight: the least cost gets most, a negative one (a node without the keys) nothing.
func Spreading(w *shape.Weights, costs []int64) []int64 {
	least, most := int64(math.MaxInt64), int64(0)
	for _, c := range costs {
		if c >= 0 {
			least, most = min(least, c), max(most, c)
		}
	}
	for i, c := range costs {
		switch {
		case c < 0:
			costs[i] = 0
		case most == 0:
			costs[i] = w.PodTopologySpread * 100 * Unit
		default:
			costs[i] = w.PodTopologySpread * Unit * (100 * (most + least - c) / most)
		}
	}
	return costs
}

// Attraction normalizes the raw scores of InterPodAffinity in place, to 0 to 200 points.
func Attraction(w *shape.Weights, raw []int64) []int64 {
	least, most := int64(math.MaxInt64), int64(math.MinInt64)
	for _, r := range raw {
		least, most = min(least, r), max(most, r)
	}
	for i, r := range raw {
		if raw[i] = 0; most > least {
			raw[i] = w.InterPodAffinity * Unit * int64(100*(float64(r-least)/float64(most-least)))
		}
	}
	return raw
}

// Most is the higher of each raw value.
func (raw Static) Most(other Static) Static {
	return Static{Affinity: max(raw.Affinity, other.Affinity), Taints: max(raw.Taints, other.Taints)}
}

// Domain is what a soft spread constraint costs in a domain with so many of its pods, when the
// nodes in question are in so many domains: the scarcer these, the less a pod of one counts.
func Domain(pods int64, maxSkew int32, domains int) float64 {
	return float64(pods)*math.Log(float64(domains+2)) + float64(maxSkew-1)
}
