package score

import (
	"slices"
	"testing"
	"unique"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"

	"kubus.dev/services/scheduler/internal/node"
	"kubus.dev/services/scheduler/internal/shape"
)

// The cases are those of upstream's image_locality_test.go, in its figures.
func TestImageLocality(t *testing.T) {
	const mb = 1 << 20
	node403002000 := shape.ImagesOf([]corev1.ContainerImage{{Names: []string{"gcr.io/40:latest", "gcr.io/40:v1"}, SizeBytes: 40 * mb}, {Names: []string{"gcr.io/300:latest"}, SizeBytes: 300 * mb}, {Names: []string{"gcr.io/2000:latest"}, SizeBytes: 2000 * mb}})
	node25010 := shape.ImagesOf([]corev1.ContainerImage{{Names: []string{"gcr.io/250:latest"}, SizeBytes: 250 * mb}, {Names: []string{"gcr.io/10:latest", "gcr.io/10:v1"}, SizeBytes: 10 * mb}})
	half := func(unique.Handle[string]) float64 { return 0.5 }
	tests := []struct {
		name   string
		images []string
		want   [2]int64
	}{
		{"two images spread on two nodes, prefer the larger image one", []string{"gcr.io/40", "gcr.io/250"}, [2]int64{0, 5}},
		{"two images on one node, prefer this node", []string{"gcr.io/40", "gcr.io/300"}, [2]int64{7, 0}},
		{"if exceed limit, use limit", []string{"gcr.io/10", "gcr.io/2000"}, [2]int64{49, 0}},
		{"an image that no node has", []string{"gcr.io/30"}, [2]int64{0, 0}},
		{"the other tag is another image", []string{"gcr.io/250:v1"}, [2]int64{0, 0}},
	}
	for _, tt := range tests {
		p := &corev1.Pod{}
		for _, name := range tt.images {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Image: name})
		}
		s := shape.New(p)
		for i, images := range [][]shape.Image{node403002000, node25010} {
			if got := Images(s, &node.Node{Images: images}, half) / Unit; got != tt.want[i] {
				t.Errorf("%s: node %d gets %d points, want %d", tt.name, i, got, tt.want[i])
			}
		}
	}
}

func TestSpreadingIsMeasuredByTheLeastAndTheMost(t *testing.T) {
	for _, tt := range []struct {
		name        string
		costs, want []int64
	}{
		{"nobody is there yet", []int64{0, 0}, []int64{200, 200}},
		{"fewer is better", []int64{10, 20, 40}, []int64{200, 150, 50}},
		{"a node without the keys gets nothing", []int64{-1, 20, 20}, []int64{0, 200, 200}},
	} {
		got := Spreading(&weights, slices.Clone(tt.costs))
		for i := range got {
			got[i] /= Unit
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v gives %v, want %v", tt.name, tt.costs, got, tt.want)
		}
	}
}

func TestAttractionIsMeasuredFromTheLeast(t *testing.T) {
	for _, tt := range []struct {
		name      string
		raw, want []int64
	}{
		{"all the same", []int64{3, 3}, []int64{0, 0}},
		{"from the least to the most", []int64{-5, 0, 5}, []int64{0, 100, 200}},
	} {
		got := Attraction(&weights, slices.Clone(tt.raw))
		for i := range got {
			got[i] /= Unit
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v gives %v, want %v", tt.name, tt.raw, got, tt.want)
		}
	}
}

// Upstream cuts points off to whole ones in several steps; what it cuts only tells equals apart.
func TestUsageIsInUpstreamsWholePoints(t *testing.T) {
	pod := func(milliCPU, memory int64) *shape.Shape {
		p := &corev1.Pod{}
		p.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU: *resource.NewMilliQuantity(milliCPU, resource.DecimalSI), corev1.ResourceMemory: *resource.NewQuantity(memory, resource.BinarySI)}}}}
		return shape.New(p)
	}
	n := &node.Node{Present: true, Allocatable: shape.Resources{MilliCPU: 3000, Memory: 3000}}
	for _, tt := range []struct {
		name             string
		milliCPU, memory int64
		want             int64 // fit and balance
	}{
		{"both alike", 1500, 1500, 50 + 75},
		{"66.6 and 33.3 are 66 and 33, of which the mean is 49; the balance falls from 100 to 83", 1000, 2000, 49 + 50 + (50+83-100)/2},
		{"more than there is counts as all", 6000, 1500, 25 + 50 + (50+75-100)/2},
	} {
		if got := Usage(pod(tt.milliCPU, tt.memory), n) / Unit; got != tt.want {
			t.Errorf("%s: %d points, want %d", tt.name, got, tt.want)
		}
	}
	if a, b := Usage(pod(1505, 1500), n), Usage(pod(1525, 1500), n); a <= b || a/Unit != b/Unit {
		t.Errorf("what upstream cuts off alike is not told apart: %d, %d", a, b)
	}
}

func TestFitLeavesOutWhatIsAskedForTheWholePod(t *testing.T) {
	p := &corev1.Pod{}
	p.Spec.Resources = &corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("700m"), corev1.ResourceMemory: resource.MustParse("512Mi")}}
	p.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("0")}}}}
	s := shape.New(p)
	if s.FitMilliCPU != 0 || s.FitMemory != 200<<20 || s.ScoreMilliCPU != 700 || s.ScoreMemory != 512<<20 {
		t.Errorf("the containers ask for %d milli CPU and %d bytes, the pod for %d and %d", s.FitMilliCPU, s.FitMemory, s.ScoreMilliCPU, s.ScoreMemory)
	}
}

func TestVolumesAreScoredByHowMuchTheyWouldBeFilled(t *testing.T) {
	claim := func(class, size string) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{}
		c.Spec.StorageClassName = &class
		c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}
		return c
	}
	room := func(gib int64) []shape.Room { return []shape.Room{{Nodes: labels.Everything(), Bytes: gib << 30}} }
	for _, tt := range []struct {
		name    string
		unbound []shape.Unbound
		want    int64
	}{
		{"nothing to bind", nil, 0},
		{"a fifth of the capacity", []shape.Unbound{{Claim: claim("a", "2Gi"), Provision: true, Tells: true, Room: room(10)}}, 80},
		{"claims of a class fill one capacity", []shape.Unbound{
			{Claim: claim("a", "2Gi"), Provision: true, Tells: true, Room: room(10)}, {Claim: claim("a", "3Gi"), Provision: true, Tells: true, Room: room(10)}}, 50},
		{"of classes the mean", []shape.Unbound{
			{Claim: claim("a", "2Gi"), Provision: true, Tells: true, Room: room(10)}, {Claim: claim("b", "6Gi"), Provision: true, Tells: true, Room: room(10)}}, 60},
		{"a driver that tells nothing", []shape.Unbound{{Claim: claim("a", "2Gi"), Provision: true}}, 0},
	} {
		s := shape.New(&corev1.Pod{}).With(&shape.Claims{Unbound: tt.unbound})
		if got := Volumes(s, &node.Node{Self: &corev1.Node{}}) / Unit; got != tt.want {
			t.Errorf("%s: %d points, want %d", tt.name, got, tt.want)
		}
	}
}

// weights are the default ones.
var weights = shape.DefaultProfile("").Weights
