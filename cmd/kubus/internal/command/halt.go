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

// grace is how long containers may take to end when the cluster stops.
const grace = 5 * time.Second

// stopNodes ends every container of a stopped instance and takes its rules, links,
// namespaces and mounts off the host; the data stays.
func stopNodes(ctx context.Context, i *instance.Instance) error {
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

func agentConfig(i *instance.Instance, n instance.Node) agent.Config {
	c := agent.Default()
	roster.ConfigureAgent(&c, i, n)
	return c
}

func proxyConfig(i *instance.Instance, n instance.Node) proxy.Config {
	c := proxy.Default()
	roster.ConfigureProxy(&c, i, n)
	return c
}
