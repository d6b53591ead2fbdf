// Command kubus-agent runs a node's agent in a process of its own.
package main

import (
	"context"

	"kubus.dev/proto"
	"kubus.dev/proto/cluster"
	"kubus.dev/services/agent"
	"kubus.dev/services/kit"
)

func main() {
	cfg := agent.Default()
	kit.Main("kubus-agent", &cfg, func(ctx context.Context, p *kit.Process) error {
		if err := cfg.Validate(); err != nil { // the node's name is that of the client
			return err
		}
		c, err := cluster.Connect(ctx, cluster.Options{
			URL: cfg.Bus.URL, NkeySeedFile: cfg.Bus.NkeySeedFile, CAFile: cfg.Bus.CAFile,
			Name: proto.AgentName(cfg.Node), Identity: proto.NodeUser(cfg.Node), NoLog: true, Later: true, Logger: p.Logger,
		})
		if err != nil {
			return err
		}
		err = agent.Run(ctx, cfg, p, c)
		if closing := c.Close(); err == nil {
			err = closing
		}
		return err
	})
}
