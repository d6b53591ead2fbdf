// Command kubus-events runs the events service in a process of its own.
package main

import (
	"context"

	"kubus.dev/proto"
	"kubus.dev/proto/cluster"
	"kubus.dev/services/events"
	"kubus.dev/services/kit"
)

func main() {
	cfg := events.Default()
	kit.Main("kubus-events", &cfg, func(ctx context.Context, p *kit.Process) error {
		c, err := cluster.Connect(ctx, cluster.Options{
			URL: cfg.Bus.URL, NkeySeedFile: cfg.Bus.NkeySeedFile, CAFile: cfg.Bus.CAFile,
			Name: "events", Identity: proto.EventsUser, Logger: p.Logger,
		})
		if err != nil {
			return err
		}
		err = events.Run(ctx, cfg, p, c)
		if closing := c.Close(); err == nil {
			err = closing
		}
		return err
	})
}
