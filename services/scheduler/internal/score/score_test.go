package score

import (
	"slices"
	"testing"
	"unique"

	corev1 "k8s.io/api/core/v1"

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

// weights are the default ones.
var weights = shape.DefaultProfile("").Weights
