// Command kubus-status runs the status intake; services/status/README.md says how.
package main

import (
	"context"

	"kubus.dev/proto"
	"kubus.dev/proto/cluster"
	"kubus.dev/services/kit"
	"kubus.dev/services/status"
)

func main() {
	cfg := status.Default()
	kit.Main("kubus-status", &cfg, func(ctx context.Context, p *kit.Process) error {
		c, err := cluster.Connect(ctx, cluster.Options{
			URL: cfg.Bus.URL, NkeySeedFile: cfg.Bus.NkeySeedFile, CAFile: cfg.Bus.CAFile,
			Name: "status", Identity: proto.StatusUser, Resources: status.Reads(), Logger: p.Logger,
		})
		if err != nil {
			return err
		}
		return status.Run(ctx, cfg, p, c)
	})
}
