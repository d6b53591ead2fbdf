// Command kubus-cloud runs the cloud service in a process of its own.
package main

import (
	"context"

	"kubus.dev/proto"
	"kubus.dev/proto/cluster"
	"kubus.dev/services/cloud"
	"kubus.dev/services/kit"
)

func main() {
	cfg := cloud.Default()
	kit.Main("kubus-cloud", &cfg, func(ctx context.Context, p *kit.Process) error {
		c, err := cluster.Connect(ctx, cluster.Options{
			URL: cfg.Bus.URL, NkeySeedFile: cfg.Bus.NkeySeedFile, CAFile: cfg.Bus.CAFile,
			Name: "cloud", Identity: proto.CloudUser, Resources: cloud.Resources(), Logger: p.Logger,
		})
		if err != nil {
			return err
		}
		err = cloud.Run(ctx, cfg, p, c)
		if closing := c.Close(); err == nil {
			err = closing
		}
		return err
	})
}
