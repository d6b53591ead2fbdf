// Package roster is the list of the services of an instance: what each is called,
// whether it belongs to a node, how its configuration follows from the instance,
// and the function that runs it. Both forms, one process and one process a service,
// are made from this one list, so that nothing can work in one of them only.
package roster

import (
	"context"
	"fmt"
	"os"

	"go.yaml.in/yaml/v3"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/proto"
	"kubus.dev/proto/cluster"
	"kubus.dev/services/kit"
)

// Place is where a service runs.
type Place int

const (
	Anywhere  Place = iota // also where there is no node
	OneNode                // beside containers, not with --nodes 0
	EveryNode              // on each node
)

// Service is one row.
type Service struct {
	Name string
	// Place is on which nodes it runs.
	Place Place
	// Defaults gives a pointer to the service's configuration with its defaults.
	Defaults func() any
	// Configure fills such a configuration for an instance and, for what runs on every
	// node, for the node.
	Configure func(cfg any, i *instance.Instance, n instance.Node)
	// Run runs the service until ctx ends. cfg is what Defaults gave.
	Run func(ctx context.Context, cfg any, p *kit.Process, c *cluster.Client) error
	// Options say how the service reaches the cluster when it is alone.
	Options func(cfg any) cluster.Options
}

func row[C any](name string, place Place, defaults func() C,
	configure func(*C, *instance.Instance, instance.Node),
	run func(context.Context, C, *kit.Process, *cluster.Client) error,
	options func(*C) cluster.Options,
) Service {
	return Service{
		Name: name, Place: place,
		Defaults: func() any {
			c := defaults()
			return &c
		},
		Configure: func(cfg any, i *instance.Instance, n instance.Node) { configure(cfg.(*C), i, n) },
		Run: func(ctx context.Context, cfg any, p *kit.Process, c *cluster.Client) error {
			return run(ctx, *cfg.(*C), p, c)
		},
		Options: func(cfg any) cluster.Options { return options(cfg.(*C)) },
	}
}

// For lists the services of an instance: of its control plane and of its first node.
func For(i *instance.Instance) []Service {
	var out []Service
	for _, s := range All() {
		if s.Place == Anywhere || i.Nodes > 0 {
			out = append(out, s)
		}
	}
	return out
}

// OfNode lists the services of each node.
func OfNode() []Service {
	var out []Service
	for _, s := range All() {
		if s.Place == EveryNode {
			out = append(out, s)
		}
	}
	return out
}

// Find gives the service of a name.
func Find(name string) (Service, error) {
	names := ""
	for _, s := range All() {
		if s.Name == name {
			return s, nil
		}
		names += " " + s.Name
	}
	return Service{}, fmt.Errorf("there is no service %q; there are:%s", name, names)
}

// Names lists what the ports, keys and configurations are made for.
func Names(services []Service) []string {
	names := make([]string, len(services))
	for n, s := range services {
		names[n] = s.Name
	}
	return names
}

// common is the part of a configuration that all services share, for the form with
// one process a service.
func common(i *instance.Instance, name string) kit.Common {
	c := kit.DefaultCommon()
	c.Bus.URL = BusURL(i)
	c.Bus.NkeySeedFile, c.Bus.CAFile = BusKey(i, name), BusCA(i)
	c.Listen = i.Address(HealthPort(name))
	return c
}

// ofNode is common for what runs on every node, under the name that it has on the bus.
func ofNode(i *instance.Instance, n instance.Node, name, client string) kit.Common {
	c := common(i, name)
	c.Bus.NkeySeedFile = BusKey(i, client)
	if n.Own() {
		c.Listen = NodeHealth(name)
	}
	return c
}

// NodeHealth is where a service of a node with namespaces of its own tells its health: on
// the node's loopback, which nobody else has.
func NodeHealth(name string) string {
	if name == AgentName {
		return "127.0.0.1:10248"
	}
	return "127.0.0.1:10249"
}

// options reach the bus as a service of its own.
func options(b kit.Bus, role, identity string, reads ...proto.GroupResource) cluster.Options {
	return cluster.Options{
		URL: b.URL, NkeySeedFile: b.NkeySeedFile, CAFile: b.CAFile, Name: role, Identity: identity, Resources: reads,
	}
}

// BusURL is where the bus listens.
func BusURL(i *instance.Instance) string {
	if i.Store != "" {
		return i.Store
	}
	return "tls://" + i.BusAddress()
}

// HealthPort is the purpose of the port on which a service tells its health.
func HealthPort(name string) string { return "health-" + name }

// ConfigFile is where a service's configuration is kept.
func ConfigFile(i *instance.Instance, name string) string { return i.Path("config", name+".yaml") }

// NodeConfigFile is where that of a node's service is kept.
func NodeConfigFile(n instance.Node, name string) string { return n.Path("config", name+".yaml") }

// WriteNodeConfigs writes the configuration of the services of a node that has processes
// of its own.
func WriteNodeConfigs(i *instance.Instance, n instance.Node) error {
	configs, err := NodeConfigs(i, n)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(n.Path("config"), 0o700); err != nil {
		return fmt.Errorf("writing the configuration of node %s: %w", n.Name, err)
	}
	for _, s := range OfNode() {
		if err := writeConfig(i, s.Name, configs[s.Name], NodeConfigFile(n, s.Name)); err != nil {
			return err
		}
	}
	return nil
}

// WriteConfigs writes each service's configuration.
func WriteConfigs(i *instance.Instance, services []Service) error {
	if err := os.MkdirAll(i.Path("config"), 0o700); err != nil {
		return fmt.Errorf("writing the services' configuration: %w", err)
	}
	configs, err := Configs(i)
	if err != nil {
		return err
	}
	for _, s := range services {
		if err := writeConfig(i, s.Name, configs[s.Name], ConfigFile(i, s.Name)); err != nil {
			return err
		}
	}
	return nil
}

func writeConfig(i *instance.Instance, service string, config any, file string) error {
	data, err := yaml.Marshal(config)
	if err != nil {
		return fmt.Errorf("writing the configuration of %s: %w", service, err)
	}
	head := "# Written by kubus at each start, with what " + SettingsFile(i) + " says; see services/" + service + "/config.example.yaml.\n"
	return instance.WriteFile(file, append([]byte(head), data...), 0o600)
}
