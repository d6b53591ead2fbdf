package command

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/nodenet"
	"kubus.dev/cmd/kubus/internal/roster"
	"kubus.dev/services/agent"
	"kubus.dev/services/proxy"
)

// defaultGrace is how long pods get at most to end when the cluster stops and nobody said otherwise.
const defaultGrace = 10 * time.Second

// stopNodes ends every pod of a stopped instance, each as it says but within grace, and takes the
// instance's rules, links, namespaces and mounts off the host; the data stays.
func stopNodes(ctx context.Context, i *instance.Instance, grace time.Duration) error {
	nodes := i.AllNodes()
	problems := make([]error, len(nodes))
	var all sync.WaitGroup // their graces pass at the same time
	for at, n := range nodes {
		all.Go(func() { problems[at] = agent.Stop(ctx, agentConfig(i, n), grace, zap.NewNop()) })
	}
	all.Wait()
	problems = append(problems, proxy.Purge(ctx, proxyConfig(i, i.Machine()), zap.NewNop())) // others' rules go with their namespaces
	return errors.Join(append(problems, nodenet.Purge(ctx, i))...)
}

// purgeNodes removes what stopNodes leaves.
func purgeNodes(ctx context.Context, i *instance.Instance) error {
	var problems []error
	for _, n := range i.AllNodes() {
		problems = append(problems, agent.Purge(ctx, agentConfig(i, n), zap.NewNop()))
	}
	return errors.Join(problems...)
}

// stopLimit is how long stopNodes takes at most.
func stopLimit(i *instance.Instance, grace time.Duration) time.Duration {
	limit := time.Duration(0)
	for _, n := range i.AllNodes() {
		c := agentConfig(i, n)
		limit = max(limit, c.StopLimit(grace))
	}
	return limit
}

// agentConfig is that of a node's agent. Settings that cannot be read are no reason not to stop it.
func agentConfig(i *instance.Instance, n instance.Node) agent.Config {
	if configs, err := roster.NodeConfigs(i, n); err == nil {
		if c, ok := configs[roster.AgentName].(*agent.Config); ok {
			return *c
		}
	}
	c := agent.Default()
	roster.ConfigureAgent(&c, i, n)
	return c
}

func proxyConfig(i *instance.Instance, n instance.Node) proxy.Config {
	c := proxy.Default()
	roster.ConfigureProxy(&c, i, n)
	return c
}
