// Command kubus-gateway is the Kubernetes API server in a process of its own.
package main

import (
	"context"

	"kubus.dev/gateway"
	"kubus.dev/proto/cluster"
	"kubus.dev/services/kit"
)

func main() {
	cfg := gateway.Default()
	kit.Main("kubus-gateway", &cfg, func(ctx context.Context, p *kit.Process) error {
		c, err := cluster.Connect(ctx, cluster.Options{
			URL: cfg.Bus.URL, NkeySeedFile: cfg.Bus.NkeySeedFile, CAFile: cfg.Bus.CAFile,
			Name: "gateway", Identity: gateway.AdminUser, Store: true,
			SigningKeyFile: cfg.Signing.KeyFile, AdoptFile: cfg.Signing.AdoptFile, Logger: p.Logger,
		})
		if err != nil {
			return err
		}
		return gateway.Run(ctx, cfg, p, c)
	})
}
