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
		kit.Frugal()
		o := controllers.Options(&cfg)
		o.Logger = p.Logger
		c, err := cluster.Connect(ctx, o)
		if err != nil {
			return err
		}
		return controllers.Run(ctx, cfg, p, c)
	})
}
