// Command kubus-metrics runs the metrics service in a process of its own.
package main

import (
	"context"

	"kubus.dev/proto/cluster"
	"kubus.dev/services/kit"
	"kubus.dev/services/metrics"
)

func main() {
	cfg := metrics.Default()
	kit.Main("kubus-metrics", &cfg, func(ctx context.Context, p *kit.Process) error {
		c, err := cluster.Connect(ctx, cluster.Options{
			URL: cfg.Bus.URL, NkeySeedFile: cfg.Bus.NkeySeedFile, CAFile: cfg.Bus.CAFile,
			Name: "metrics", Resources: metrics.Reads(), Logger: p.Logger,
		})
		if err != nil {
			return err
		}
		err = metrics.Run(ctx, cfg, p, c)
		if closing := c.Close(); err == nil {
			err = closing
		}
		return err
	})
}
