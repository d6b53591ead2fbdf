package shape

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestVolumesAndNodesZones(t *testing.T) {
	zone, region, old := corev1.LabelTopologyZone, corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaZone
	tests := []struct {
		name         string
		volume, node map[string]string
		want         bool
	}{
		{"a volume without zones", nil, map[string]string{zone: "a"}, true},
		{"a node without zones", map[string]string{zone: "a"}, nil, true},
		{"the same zone", map[string]string{zone: "a"}, map[string]string{zone: "a", region: "r"}, true},
		{"another zone", map[string]string{zone: "a"}, map[string]string{zone: "b"}, false},
		{"one of several zones", map[string]string{zone: "a__b"}, map[string]string{zone: "b"}, true},
		{"the zone fits, the region does not", map[string]string{zone: "a", region: "r"}, map[string]string{zone: "a", region: "s"}, false},
		{"a node with a region only", map[string]string{zone: "a"}, map[string]string{region: "r"}, false},
		{"a volume's old label and a node's new one", map[string]string{old: "a"}, map[string]string{zone: "a"}, true},
	}
	for _, tt := range tests {
		claims := &Claims{Zones: ZonesOf(tt.volume)}
		if got := claims.InZone(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: tt.node}}); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
