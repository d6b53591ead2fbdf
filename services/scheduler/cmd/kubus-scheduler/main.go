// Command kubus-scheduler runs the scheduler, or some of its roles, in a process
// of its own.
package main

import (
	"context"

	"kubus.dev/proto"
	"kubus.dev/proto/cluster"
	"kubus.dev/services/kit"
	"kubus.dev/services/scheduler"
)

func main() {
	cfg := scheduler.Default()
	kit.Main("kubus-scheduler", &cfg, func(ctx context.Context, p *kit.Process) error {
		kit.Frugal()
		c, err := cluster.Connect(ctx, cluster.Options{
			URL: cfg.Bus.URL, NkeySeedFile: cfg.Bus.NkeySeedFile, CAFile: cfg.Bus.CAFile,
			Name: "scheduler", Identity: proto.SchedulerUser, Resources: scheduler.Resources(), Logger: p.Logger,
		})
		if err != nil {
			return err
		}
		err = scheduler.Run(ctx, cfg, p, c)
		if closing := c.Close(); err == nil {
			err = closing
		}
		return err
	})
}
