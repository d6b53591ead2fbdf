package reconcile

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/services/cloud/internal/provider"
)

func TestNodeWrites(t *testing.T) {
	tests := []struct {
		name    string
		node    corev1.Node
		machine provider.Instance
		want    []string
	}{
		{"nothing to say, nothing written", corev1.Node{}, provider.Instance{}, nil},
		{"labels that are missing are set", corev1.Node{}, provider.Instance{Zone: "z", Region: "r"},
			[]string{`{"metadata":{"labels":{"topology.kubernetes.io/region":"r","topology.kubernetes.io/zone":"z"}},"spec":{}}`}},
		{"a label that is there stays", corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{corev1.LabelTopologyZone: "mine"}}}, provider.Instance{Zone: "z"}, nil},
		{"the taint goes, others stay", corev1.Node{Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: "x"}, {Key: TaintUninitialized, Effect: "NoSchedule"}}}}, provider.Instance{},
			[]string{`{"metadata":{"labels":{}},"spec":{"taints":[{"$patch":"delete","effect":"NoSchedule","key":"node.cloudprovider.kubernetes.io/uninitialized"}]}}`}},
		{"a provider id is set once", corev1.Node{}, provider.Instance{ProviderID: "acme://1"}, []string{`{"metadata":{"labels":{}},"spec":{"providerID":"acme://1"}}`}},
		{"addresses of the machine win", corev1.Node{}, provider.Instance{Addresses: []corev1.NodeAddress{{Type: "InternalIP", Address: "10.0.0.1"}}},
			[]string{`{"status":{"addresses":[{"type":"InternalIP","address":"10.0.0.1"}]}}`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := NodeWrites(&tt.node, tt.machine)
			if err != nil || len(got) != len(tt.want) {
				t.Fatalf("got %d writes, %v, want %d", len(got), err, len(tt.want))
			}
			for i := range got {
				if string(got[i].Body) != tt.want[i] {
					t.Errorf("got  %s\nwant %s", got[i].Body, tt.want[i])
				}
			}
		})
	}
}

func TestServiceWrite(t *testing.T) {
	vip := corev1.LoadBalancerIPModeVIP
	shown := corev1.Service{Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "10.0.0.1", IPMode: &vip}}}}}
	tests := []struct {
		name    string
		service corev1.Service
		ingress []corev1.LoadBalancerIngress
		want    string
	}{
		{"what is shown already is not written", shown, []corev1.LoadBalancerIngress{{IP: "10.0.0.1"}}, ""},
		{"another address is written", shown, []corev1.LoadBalancerIngress{{IP: "10.0.0.2"}}, `{"status":{"loadBalancer":{"ingress":[{"ip":"10.0.0.2"}]}}}`},
		{"no address clears it", shown, nil, `{"status":{"loadBalancer":{"ingress":[]}}}`},
		{"nothing stays nothing", corev1.Service{}, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, err := ServiceWrite(&tt.service, tt.ingress)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if w != nil {
				got = string(w.Body)
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
