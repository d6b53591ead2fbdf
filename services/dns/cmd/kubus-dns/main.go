// Command kubus-dns runs the cluster's DNS server; services/dns/README.md says how.
package main

import (
	"context"

	"kubus.dev/proto"
	"kubus.dev/proto/cluster"
	"kubus.dev/services/dns"
	"kubus.dev/services/kit"
)

func main() {
	cfg := dns.Default()
	kit.Main("kubus-dns", &cfg, func(ctx context.Context, p *kit.Process) error {
		c, err := cluster.Connect(ctx, cluster.Options{
			URL: cfg.Bus.URL, NkeySeedFile: cfg.Bus.NkeySeedFile, CAFile: cfg.Bus.CAFile,
			Name: "dns", Identity: proto.DNSUser, Resources: dns.Reads(), Logger: p.Logger,
		})
		if err != nil {
			return err
		}
		return dns.Run(ctx, cfg, p, c)
	})
}
