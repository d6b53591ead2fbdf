// Command kubus-controllers runs the built-in controllers; services/controllers/README.md says how.
package main

import (
	"context"

	"kubus.dev/proto/cluster"
	"kubus.dev/services/controllers"
	"kubus.dev/services/kit"
)

func main() {
	cfg := controllers.Default()
	kit.Main("kubus-controllers", &cfg, func(ctx context.Context, p *kit.Process) error {
		c, err := cluster.Connect(ctx, cluster.Options{
			URL: cfg.Bus.URL, NkeySeedFile: cfg.Bus.NkeySeedFile, CAFile: cfg.Bus.CAFile,
			Name: "controllers", Identity: controllers.Identity, Logger: p.Logger,
		})
		if err != nil {
			return err
		}
		return controllers.Run(ctx, cfg, p, c)
	})
}
