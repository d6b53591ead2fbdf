package command

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/roster"
	"kubus.dev/services/agent"
	"kubus.dev/services/proxy"
)

// grace is how long containers may take to end when the cluster stops.
const grace = 5 * time.Second

// stopNode ends every container of a stopped instance and takes its rules, links
// and mounts off the host; the data stays.
func stopNode(ctx context.Context, i *instance.Instance) error {
	log := zap.NewNop()
	return errors.Join(
		agent.Stop(ctx, agentConfig(i), grace, log),
		proxy.Purge(ctx, i.ID, i.Path("proxy"), log),
	)
}

// purgeNode removes what stopNode leaves.
func purgeNode(ctx context.Context, i *instance.Instance) error {
	return agent.Purge(ctx, agentConfig(i), zap.NewNop())
}

func agentConfig(i *instance.Instance) agent.Config {
	c := agent.Default()
	roster.ConfigureAgent(&c, i)
	return c
}
