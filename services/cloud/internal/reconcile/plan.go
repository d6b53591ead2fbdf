// Package reconcile compares nodes and Services with what the provider says, and
// writes the difference.
//
// Start with NodeWrites and ServiceWrite, which are pure, and Reconciler, which
// reads, asks and writes.
package reconcile

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/cloud/internal/provider"
)

// TaintUninitialized keeps pods off a node that a cloud provider has not seen yet;
// upstream's k8s.io/cloud-provider/api.TaintExternalCloudProvider.
const TaintUninitialized = "node.cloudprovider.kubernetes.io/uninitialized"

// NodeWrites gives the requests that bring a node in line with its machine, none
// when it is. Labels that the node has already are somebody's choice and stay.
func NodeWrites(n *corev1.Node, machine provider.Instance) ([]apiclient.Request, error) {
	var out []apiclient.Request
	labels := map[string]string{}
	for key, value := range map[string]string{
		corev1.LabelTopologyZone: machine.Zone, corev1.LabelTopologyRegion: machine.Region, corev1.LabelInstanceTypeStable: machine.Type,
	} {
		if _, has := n.Labels[key]; value != "" && !has {
			labels[key] = value
		}
	}
	spec := map[string]any{}
	if n.Spec.ProviderID == "" && machine.ProviderID != "" {
		spec["providerID"] = machine.ProviderID
	}
	if i := slices.IndexFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == TaintUninitialized }); i >= 0 {
		spec["taints"] = []map[string]any{{"$patch": "delete", "key": TaintUninitialized, "effect": n.Spec.Taints[i].Effect}}
	}
	if len(labels)+len(spec) > 0 {
		r, err := patch("/api/v1/nodes/"+n.Name, map[string]any{"metadata": map[string]any{"labels": labels}, "spec": spec})
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	if machine.Addresses != nil && !slices.Equal(machine.Addresses, n.Status.Addresses) {
		r, err := patch("/api/v1/nodes/"+n.Name+"/status", map[string]any{"status": map[string]any{"addresses": machine.Addresses}})
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// Balances tells whether the Service is ours to balance: its type says so, and no
// other implementation is named.
func Balances(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.LoadBalancerClass == nil && s.DeletionTimestamp == nil
}

// ServiceWrite gives the request that makes the Service show the ingress, or nil
// when it does.
func ServiceWrite(s *corev1.Service, ingress []corev1.LoadBalancerIngress) (*apiclient.Request, error) {
	if same(s.Status.LoadBalancer.Ingress, ingress) {
		return nil, nil
	}
	if ingress == nil {
		ingress = []corev1.LoadBalancerIngress{}
	}
	body, err := json.Marshal(map[string]any{"status": map[string]any{"loadBalancer": map[string]any{"ingress": ingress}}})
	if err != nil {
		return nil, fmt.Errorf("encoding the status of %s/%s: %w", s.Namespace, s.Name, err)
	}
	return &apiclient.Request{
		Method: http.MethodPatch, Path: "/api/v1/namespaces/" + s.Namespace + "/services/" + s.Name + "/status",
		Body: body, ContentType: apiclient.MergePatch,
	}, nil
}

// same compares addresses; the API fills in the mode.
func same(a, b []corev1.LoadBalancerIngress) bool {
	return slices.EqualFunc(a, b, func(x, y corev1.LoadBalancerIngress) bool {
		return x.IP == y.IP && x.Hostname == y.Hostname && (y.IPMode == nil || reflect.DeepEqual(x.IPMode, y.IPMode))
	})
}

func patch(path string, body any) (apiclient.Request, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return apiclient.Request{}, fmt.Errorf("encoding the patch of %s: %w", path, err)
	}
	return apiclient.Request{Method: http.MethodPatch, Path: path, Body: data, ContentType: apiclient.StrategicMergePatch}, nil
}
