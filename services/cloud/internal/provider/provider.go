// Package provider is what a cloud has to give: the machines behind nodes, and
// load balancers for Services. Local is the built-in one, for machines without a
// cloud; another cloud is another implementation of Provider.
package provider

import (
	"context"

	corev1 "k8s.io/api/core/v1"
)

// Provider answers from what it is asked with and from its cloud; it never writes
// to the cluster. It is called again until it succeeds, and must bear being asked
// the same twice.
type Provider interface {
	// Instance describes the machine behind a node.
	Instance(ctx context.Context, node *corev1.Node) (Instance, error)
	// Balance gives the addresses at which each Service of type LoadBalancer is
	// reached, for all of them together, since they share addresses and ports.
	Balance(ctx context.Context, services []*corev1.Service, nodes []*corev1.Node) ([]Balancer, error)
}

// Instance is a machine. Empty fields are left as the node has them.
type Instance struct {
	ProviderID string
	Type       string
	Zone       string
	Region     string
	Addresses  []corev1.NodeAddress // nil: what the agent reported stands
}

// Balancer is what one Service gets, in the order of the Services asked for.
type Balancer struct {
	Ingress []corev1.LoadBalancerIngress
	// Refusal says in a sentence why there is no ingress; "" when there is or when
	// it only has to be waited for.
	Refusal string
}
