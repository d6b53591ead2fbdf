// Command kubus-proxy runs the proxy of one node; services/proxy/README.md says how.
package main

import (
	"context"

	"kubus.dev/proto"
	"kubus.dev/proto/cluster"
	"kubus.dev/services/kit"
	"kubus.dev/services/proxy"
)

func main() {
	cfg := proxy.Default()
	kit.Main("kubus-proxy", &cfg, func(ctx context.Context, p *kit.Process) error {
		if err := cfg.Validate(); err != nil { // the node's name is that of the client
			return err
		}
		c, err := cluster.Connect(ctx, cluster.Options{
			URL: cfg.Bus.URL, NkeySeedFile: cfg.Bus.NkeySeedFile, CAFile: cfg.Bus.CAFile,
			Name: proto.ProxyName(cfg.Node), Resources: proxy.Reads(), AtTimes: proxy.ReadsAtTimes(), Logger: p.Logger,
		})
		if err != nil {
			return err
		}
		return proxy.Run(ctx, cfg, p, c)
	})
}
