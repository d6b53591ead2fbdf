package controllers

import (
	"context"
	"time"

	"kubus.dev/test/differential"
)

// Live is a running cluster.
type Live struct {
	server *differential.Server
	world  *World
}

// NewLive watches the cluster of an administrator's kubeconfig until ctx ends.
func NewLive(ctx context.Context, kubeconfig string) (*Live, error) {
	server, err := differential.Connect(kubeconfig)
	if err != nil {
		return nil, err
	}
	l := &Live{server, newWorld(server)}
	go func() { _ = l.world.Run(ctx) }() // a world that stands still shows as differences
	return l, nil
}

// Begin starts a sequence's nodes.
func (l *Live) Begin(ctx context.Context, sequence string) Play {
	ctx, cancel := context.WithCancel(ctx)
	p := &livePlay{
		actor:  &Actor{l.server, l.world, &Kubelet{server: l.server, world: l.world, scope: sequence, lost: map[string]bool{}}, sequence, map[string]string{}},
		wake:   l.world.Wake(sequence),
		cancel: cancel, ended: make(chan struct{}),
	}
	go func() {
		defer close(p.ended)
		p.actor.kubelet.Run(ctx)
	}()
	return p
}

type livePlay struct {
	actor  *Actor
	wake   <-chan struct{}
	cancel func()
	ended  chan struct{}
}

func (p *livePlay) Do(ctx context.Context, step *Step) []string {
	out := []string{}
	for _, do := range step.Do {
		out = append(out, do(ctx, p.actor))
	}
	return out
}

func (p *livePlay) Look(step *Step) (State, time.Duration, bool) {
	objects, changed := p.actor.world.Look(p.actor.scope)
	return p.actor.world.State(p.actor.scope), time.Since(changed), step.Await == nil || step.Await(objects)
}

func (p *livePlay) Wake() <-chan struct{} { return p.wake }

func (p *livePlay) End() {
	p.cancel()
	<-p.ended
	p.actor.world.Forget(p.actor.scope)
}
