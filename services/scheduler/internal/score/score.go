// Package score says how good a node is for a pod that fits: upstream's default
// score plugins with upstream's weights, in finer steps so that fewer nodes tie.
//
// LeastAllocated and BalancedAllocation change with every pod and are computed
// by Usage, ImageLocality by Images; node affinity and PreferNoSchedule taints depend on the node's class
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

// Usage is NodeResourcesFit plus BalancedAllocation for s on top of what n holds,
// up to 100 points each, times their weights.
func Usage(s *shape.Shape, n *node.Node) int64 {
	var sum int64
	if w := s.Profile.Weights.NodeResourcesFit; w > 0 {
		sum += w * fit(s, n)
	}
	if w := s.Profile.Weights.BalancedAllocation; w > 0 {
		sum += w * balanced(s, n)
	}
	return sum
}

// fit is the mean of what the profile's resources are worth, by their weights.
func fit(s *shape.Shape, n *node.Node) int64 {
	var sum, weights int64
	for _, r := range s.Profile.Fit {
		used, capacity := load(r.Name, s, n)
		if capacity <= 0 {
			continue
		}
		points := worth(s.Profile, used, capacity)
		if s.Profile.Strategy == shape.CapacityRatio && points <= 0 { // upstream leaves it out
			continue
		}
		sum += points * r.Weight
		weights += r.Weight
	}
	if weights == 0 {
		return 0
	}
	return sum / weights
}

// load is what would be taken of a resource with the pod, and what there is of it.
func load(name string, s *shape.Shape, n *node.Node) (used, capacity int64) {
	switch name {
	case string(corev1.ResourceCPU):
		return n.ScoreMilliCPU + s.ScoreMilliCPU, n.Allocatable.MilliCPU
	case string(corev1.ResourceMemory):
		return n.ScoreMemory + s.ScoreMemory, n.Allocatable.Memory
	case string(corev1.ResourceEphemeralStorage):
		return n.Used.Ephemeral + s.Requests.Ephemeral, n.Allocatable.Ephemeral
	}
	want := s.Requests.Scalar(name)
	if want == 0 { // upstream: an extended resource counts for those who ask for it
		return 0, 0
	}
	return n.Used.Scalar(name) + want, n.Allocatable.Scalar(name)
}

func worth(p *shape.Profile, used, capacity int64) int64 {
	part := min(float64(used)/float64(capacity), 1)
	switch p.Strategy {
	case shape.MostAllocated:
		return int64(part * (100 * Unit))
	case shape.CapacityRatio:
		return line(p.Points, part*100)
	}
	return int64((1 - part) * (100 * Unit))
}

// line is the height, in Units, of the line through the points.
func line(points []shape.Point, at float64) int64 {
	for i, p := range points {
		if at > float64(p.Utilization) {
			continue
		}
		if i == 0 {
			return p.Score * Unit
		}
		from := points[i-1]
		return int64((float64(from.Score) + float64(p.Score-from.Score)*(at-float64(from.Utilization))/float64(p.Utilization-from.Utilization)) * Unit)
	}
	return points[len(points)-1].Score * Unit
}

// balanced is upstream's BalancedAllocation of 1.37: by how much the pod makes
// the fractions of CPU and memory more alike. 75 is neutral.
func balanced(s *shape.Shape, n *node.Node) int64 {
	if n.Allocatable.MilliCPU <= 0 || n.Allocatable.Memory <= 0 {
		return 75 * Unit
	}
	before := imbalance(n.Used.MilliCPU, n.Used.Memory, n)
	after := imbalance(n.Used.MilliCPU+s.Requests.MilliCPU, n.Used.Memory+s.Requests.Memory, n)
	return int64((75 + 50*(before-after)) * Unit)
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
	return s.Profile.Weights.ImageLocality * 100 * Unit * (min(max(sum, leastImage), most) - leastImage) / (most - leastImage)
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
		points -= w.TaintToleration * 100 * Unit * raw.Taints / most.Taints
	}
	if most.Affinity > 0 {
		points += w.NodeAffinity * 100 * Unit * raw.Affinity / most.Affinity
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
			costs[i] = w.PodTopologySpread * 100 * Unit * (most + least - c) / most
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
			raw[i] = w.InterPodAffinity * 100 * Unit * (r - least) / (most - least)
		}
	}
	return raw
}

// Default is the raw cost of upstream's default constraints (host name with maxSkew 3, zone
// with maxSkew 5) on a node with so many pods of the group, in a zone with so many.
func Default(onNode int64, nodes int, inZone int64, zones int) int64 {
	return int64(math.Round(float64(onNode)*math.Log(float64(nodes+2)) + 2 + float64(inZone)*math.Log(float64(zones+2)) + 4))
}
