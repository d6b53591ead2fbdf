package command

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"kubus.dev/cmd/kubus/internal/outfit"
	"kubus.dev/services/proxy"
)

func newConfig(s streams) *cobra.Command {
	p := &outfit.Plan{}
	var nodes []string
	cmd := &cobra.Command{
		Use:   "config DIR",
		Short: "Write configurations and keys for processes that something else starts",
		Long: `Write a folder for each process of a cluster that something else than kubus starts
and keeps: compose, an init system, a chart. A folder has the process's configuration
and those of the cluster's keys that it needs; the process sees it as /etc/kubus:

    kubus-scheduler -config /etc/kubus/scheduler.yaml

DIR itself has all keys and the operator's kubeconfig: keep it to yourself. A second
run keeps the keys, makes those that are missing, and writes the configurations anew.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := absolutePath(args[0])
			if err != nil {
				return err
			}
			for _, n := range nodes {
				name, ip, ok := strings.Cut(n, "=")
				if !ok {
					return fmt.Errorf("--node %s: want NAME=ADDRESS", n)
				}
				p.Nodes = append(p.Nodes, outfit.Node{Name: name, IP: ip})
			}
			if err := outfit.Write(p, dir); err != nil {
				return err
			}
			fmt.Fprintf(s.out, "%s has a folder for each process; the operator's kubeconfig is %s\n", dir, filepath.Join(dir, outfit.AdminFile))
			return nil
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&p.Servers, "server", []string{"nats"}, "names of the NATS servers: 1, 3 or 5, each with all of the log")
	f.StringSliceVar(&p.Gateways, "gateway", []string{"gateway"}, "names of the gateways")
	f.StringVar(&p.API, "api", "", "IPv4 address at which pods reach a gateway, port 6443")
	f.StringSliceVar(&p.APINames, "api-name", nil, "names and addresses by which clients reach a gateway; the first is in the kubeconfig")
	f.StringVar(&p.DNS, "dns", "", "IPv4 address of the DNS server; empty: none")
	f.StringSliceVar(&nodes, "node", nil, "nodes: NAME=ADDRESS")
	f.StringVar(&p.NodeCIDR, "node-cidr", "", "where nodes have their addresses; empty: only those of --node")
	f.StringVar(&p.PodCIDR, "pod-cidr", "10.244.0.0/16", "addresses of pods")
	f.StringVar(&p.ServiceCIDR, "service-cidr", "10.96.0.0/16", "addresses of Services")
	f.StringVar(&p.PodNetwork, "pod-network", proxy.Routes, "how packets of pods get from node to node: routes, or in tunnels: vxlan")
	f.StringVar(&p.Settings, "settings", "", "YAML file with settings of services, by service, as in their config.example.yaml")
	return cmd
}
