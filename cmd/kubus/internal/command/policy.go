package command

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"kubus.dev/cmd/kubus/internal/whatif"
	"kubus.dev/services/proxy"
)

// policyFlags is what the user said to `kubus policy check`.
type policyFlags struct{ kubeconfig, dataDir string }

func newPolicy(s streams) *cobra.Command {
	policy := &cobra.Command{Use: "policy", Short: "Ask about NetworkPolicies", Args: cobra.NoArgs}
	var f policyFlags
	check := &cobra.Command{
		Use:   "check FROM TO PORT[/PROTOCOL]",
		Short: "Tell whether NetworkPolicies let a connection be, and which rule decides",
		Long: `Tell whether NetworkPolicies let a connection be, and which rule decides.

FROM and TO are pods as NAMESPACE/NAME, or addresses; PORT is a number or a name that the
receiving pod has, PROTOCOL tcp (the default), udp or sctp. The objects are read by the API,
and the proxy's own code decides here: no packet is sent. Ends with exit code 2 when the
connection is denied.`,
		Example: "  kubus policy check shop/web-0 shop/db-0 5432\n  kubus policy check 203.0.113.7 shop/web-0 http",
		Args:    cobra.ExactArgs(3),
		RunE:    func(cmd *cobra.Command, args []string) error { return runPolicyCheck(cmd, s, &f, args) },
	}
	dataDirFlag(check, &f.dataDir)
	check.Flags().StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig of the cluster (default: that of the cluster in --data-dir, or else the user's own)")
	policy.AddCommand(check)
	return policy
}

func runPolicyCheck(cmd *cobra.Command, s streams, f *policyFlags, args []string) error {
	client, _, err := ofCluster(f.kubeconfig, f.dataDir)
	if err != nil {
		return err
	}
	rest, err := client.ClientConfig()
	if err != nil {
		return fmt.Errorf("finding the cluster: %w", err)
	}
	api, err := whatif.OverHTTP(rest)
	if err != nil {
		return err
	}
	world, err := policyWorld(cmd.Context(), api)
	if err != nil {
		return err
	}
	answer, err := proxy.Check(world, args[0], args[1], args[2])
	if err != nil {
		return err
	}
	verdict := "denied"
	if answer.Allowed {
		verdict = "allowed"
	}
	fmt.Fprintf(s.out, "%s: %s to %s port %s\n", verdict, args[0], args[1], args[2])
	for _, reason := range answer.Reasons {
		fmt.Fprintf(s.out, "  %s\n", reason)
	}
	for _, note := range answer.Notes {
		fmt.Fprintf(s.err, "note: %s\n", note)
	}
	if !answer.Allowed {
		return &exitError{2}
	}
	return nil
}

// policyWorld reads what decisions are made from.
func policyWorld(ctx context.Context, api whatif.API) (*proxy.World, error) {
	var (
		nodes      corev1.NodeList
		namespaces corev1.NamespaceList
		pods       corev1.PodList
		services   corev1.ServiceList
		slices     discoveryv1.EndpointSliceList
		policies   networkingv1.NetworkPolicyList
	)
	for _, list := range []struct {
		path string
		into any
	}{
		{"/api/v1/nodes", &nodes}, {"/api/v1/namespaces", &namespaces}, {"/api/v1/pods", &pods}, {"/api/v1/services", &services},
		{"/apis/discovery.k8s.io/v1/endpointslices", &slices}, {"/apis/networking.k8s.io/v1/networkpolicies", &policies},
	} {
		data, err := api.Do(ctx, http.MethodGet, list.path, nil, nil)
		if err == nil {
			err = json.Unmarshal(data, list.into)
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", list.path, err)
		}
	}
	return &proxy.World{Nodes: nodes.Items, Namespaces: namespaces.Items, Pods: pods.Items, Services: services.Items, Slices: slices.Items, Policies: policies.Items}, nil
}
