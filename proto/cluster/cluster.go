// Package cluster is what a service is given of the cluster: the bus, the views
// of the state log, and the API. In the all-in-one process all services share
// the first two; alone, each connects for itself.
package cluster

import (
	"context"
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
	// NoLog is for roles that may not read the log.
	NoLog bool
	// Store is for gateways: they read the log where it is, and others by them.
	Store bool
	// SigningKeyFile and AdoptFile are those of statelog.LoadTrust, for gateways.
	SigningKeyFile, AdoptFile string
	Logger                    *zap.Logger
}

// Connect waits for the bus until ctx ends. The views live until ctx ends.
func Connect(ctx context.Context, o Options) (*Client, error) {
	trust, err := statelog.LoadTrust(o.SigningKeyFile, o.AdoptFile)
	if err != nil {
		return nil, fmt.Errorf("reaching the cluster: %w", err)
	}
	conn, err := bus.Connect(ctx, bus.Options{URL: o.URL, NkeySeedFile: o.NkeySeedFile, CAFile: o.CAFile, Name: o.Name, Logger: o.Logger})
	if err != nil {
		return nil, fmt.Errorf("reaching the cluster: %w", err)
	}
	c := &Client{Bus: conn, API: apiclient.New(apiclient.OverBus(conn), o.Identity)}
	switch {
	case o.NoLog:
	case o.Store:
		c.Views = statelog.OpenSignedViews(ctx, conn, trust, o.Logger)
		c.Log = c.Views.Source()
	default:
		log := feed.NewLog(conn, o.Name, o.Logger)
		c.Log = log
		c.Views = statelog.OpenViewsFrom(ctx, log.Trimmed(), o.Logger, o.Resources...)
		c.Views.KeepLittle()
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
	return c.Bus.Drain()
}
