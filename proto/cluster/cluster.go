// Package cluster is what a service is given of the cluster: the bus, the views
// of the state log, and the API. In the all-in-one process all services share
// the first two; alone, each connects for itself.
package cluster

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/feed"
	"kubus.dev/proto/statelog"
)

// Client reaches the cluster. Log and Views are nil for agents, which may not read the
// log. In the all-in-one process Bus is in the service's own account where it keeps a
// stream there, or agents speak to it there, and Log and Views are the gateway's.
type Client struct {
	Bus   *bus.Conn
	Log   statelog.Source
	Views *statelog.Views
	API   *apiclient.Client
	// more opens views of what is read only at times; nil where Views has everything.
	more func(ctx context.Context, resources []proto.GroupResource) *statelog.Views

	// Parts are the same for the parts of the service that have a credential of their own,
	// by role. Whoever finds no part, or no Views in it, has those of the whole.
	Parts map[string]*Client
}

// Part is the client of the role, or the whole where it has none of its own.
func (c *Client) Part(role string) *Client {
	part := c.Parts[role]
	if part == nil {
		return c
	}
	own := *part
	if own.Views == nil {
		own.Log, own.Views = c.Log, c.Views
	}
	return &own
}

// Also gives views of resources that the role may read and Views was not opened for, until
// ctx ends: for what is needed at times only.
func (c *Client) Also(ctx context.Context, resources ...proto.GroupResource) *statelog.Views {
	if c.more == nil {
		return c.Views
	}
	return c.more(ctx, resources)
}

// Options say how a process of its own reaches the cluster.
type Options struct {
	URL          string
	NkeySeedFile string
	CAFile       string
	Name         string // proto.Role.Client: connection name, from which the inbox follows
	Identity     string // the Kubernetes user to speak as at first
	// Resources restricts the views to what the service reads; none is everything.
	Resources []proto.GroupResource
	// AtTimes are those that Client.Also may be asked for.
	AtTimes []proto.GroupResource
	// Fences are those that the views hear of beside Resources.
	Fences []string
	// NoLog is for roles that may not read the log.
	NoLog bool
	// Later is for agents, which run pods without the cluster: Connect does not wait for the bus.
	Later bool
	// Store is for gateways: they read the log where it is, and others by them.
	Store bool
	// SigningKeyFile and AdoptFile are those of statelog.LoadTrust, for gateways.
	SigningKeyFile, AdoptFile string
	// Parts are further credentials of the process, each with a connection of its own. Of
	// each only the key, the name, the identity, and what it reads count.
	Parts  []Options
	Logger *zap.Logger
}

// Connect waits for the bus until ctx ends, unless Later. The views live until ctx ends.
func Connect(ctx context.Context, o Options) (*Client, error) {
	trust, err := statelog.LoadTrust(o.SigningKeyFile, o.AdoptFile)
	if err != nil {
		return nil, fmt.Errorf("reaching the cluster: %w", err)
	}
	conn, err := bus.Connect(ctx, bus.Options{URL: o.URL, NkeySeedFile: o.NkeySeedFile, CAFile: o.CAFile, Name: o.Name, Later: o.Later, Logger: o.Logger})
	if err != nil {
		return nil, fmt.Errorf("reaching the cluster: %w", err)
	}
	c := &Client{Bus: conn, API: apiclient.New(apiclient.OverBus(conn), o.Identity), Parts: map[string]*Client{}}
	for _, part := range o.Parts {
		part.URL, part.CAFile, part.Logger = o.URL, o.CAFile, o.Logger
		if c.Parts[part.Name], err = Connect(ctx, part); err != nil {
			return nil, err
		}
	}
	switch {
	case o.NoLog:
	case o.Store:
		c.Views = statelog.OpenSignedViews(ctx, conn, trust, o.Logger)
		c.Log = c.Views.Source()
	default:
		log := feed.NewLog(conn, o.Name, o.Logger)
		c.Log = log
		c.Views = statelog.OpenViewsFrom(ctx, log.Trimmed(), o.Logger, o.Resources...).Hear(o.Fences...)
		c.Views.KeepLittle()
		c.more = func(ctx context.Context, resources []proto.GroupResource) *statelog.Views {
			views := statelog.OpenViewsFrom(ctx, log.Trimmed(), o.Logger, resources...)
			views.KeepLittle()
			return views
		}
	}
	return c, nil
}

// Close flushes and leaves the bus. The context of Connect should have ended.
func (c *Client) Close() error {
	if c.Views != nil {
		if err := c.Views.Wait(); err != nil {
			return err
		}
	}
	var failed []error
	for _, part := range c.Parts {
		failed = append(failed, part.Close())
	}
	return errors.Join(append(failed, c.Bus.Drain())...)
}
