package command

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"kubus.dev/cmd/kubus-keeper/spec"
	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/nodenet"
	"kubus.dev/cmd/kubus/internal/preflight"
	"kubus.dev/cmd/kubus/internal/roster"
	"kubus.dev/proto/store"
)

// processes lists what the keeper keeps, in starting order: the control plane with the
// first node, in the instance's form, then the further nodes. It also writes the
// configuration of each process.
func processes(i *instance.Instance) ([]spec.Process, error) {
	var list []spec.Process
	var err error
	if i.Form == instance.AllInOne {
		list, err = allInOne(i)
	} else {
		list, err = services(i)
	}
	for _, n := range i.FurtherNodes() {
		if err != nil {
			break
		}
		var own []spec.Process
		own, err = nodeProcesses(i, n)
		list = append(list, own...)
	}
	return list, err
}

func allInOne(i *instance.Instance) ([]spec.Process, error) {
	self, err := executable()
	if err != nil {
		return nil, err
	}
	keys, err := roster.AllKeys(i)
	if err != nil {
		return nil, err
	}
	// What changes for the process when nodes come and go, beside their keys: where the bus listens.
	stamp, err := json.Marshal([]any{i.Further, roster.BusURL(i), keys})
	if err != nil {
		return nil, err
	}
	return []spec.Process{{Name: "kubus", Argv: []string{self, "serve", "--data-dir", i.Dir}, StopSeconds: 30, Stamp: stampOf(stamp)}}, nil
}

func services(i *instance.Instance) ([]spec.Process, error) {
	services := roster.For(i)
	if err := roster.WriteConfigs(i, services); err != nil {
		return nil, err
	}
	var list []spec.Process
	if i.Store == "" {
		p, err := natsServer(i)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	configs, err := roster.Configs(i)
	if err != nil {
		return nil, err
	}
	for _, s := range services {
		p, err := service(s.Name, s, configs[s.Name], roster.ConfigFile(i, s.Name))
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// nodeProcesses are a further node's, in its own namespaces.
func nodeProcesses(i *instance.Instance, n instance.Node) ([]spec.Process, error) {
	if err := roster.WriteNodeConfigs(i, n); err != nil {
		return nil, err
	}
	configs, err := roster.NodeConfigs(i, n)
	if err != nil {
		return nil, err
	}
	var list []spec.Process
	for _, s := range roster.OfNode() {
		p, err := service(processName(n, s.Name), s, configs[s.Name], roster.NodeConfigFile(n, s.Name))
		if err != nil {
			return nil, err
		}
		p.Namespaces = nodenet.Files(n)
		list = append(list, p)
	}
	return list, nil
}

// processName is what the keeper calls a further node's service; names of nodes may hold
// what it does not take.
func processName(n instance.Node, service string) string {
	return fmt.Sprintf("node-%d-%s", n.Number, service)
}

// service is a process of a service's own main, with its configuration and the file that
// this is in.
func service(name string, s roster.Service, config any, file string) (spec.Process, error) {
	path, err := preflight.FindTool("kubus-" + s.Name)
	if err != nil {
		return spec.Process{}, fmt.Errorf("kubus-%s is not beside kubus: `make build` builds it", s.Name)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return spec.Process{}, fmt.Errorf("reading the configuration of %s: %w", s.Name, err)
	}
	keys, err := s.Keys(config)
	if err != nil {
		return spec.Process{}, err
	}
	return spec.Process{Name: name, Argv: []string{path, "-config", file}, Stamp: stampOf(append(data, keys...))}, nil
}

// stampOf tells contents apart.
func stampOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// natsServer configures the separate store.
func natsServer(i *instance.Instance) (spec.Process, error) {
	path, err := preflight.FindTool("nats-server")
	if err != nil {
		return spec.Process{}, errors.New("nats-server is not beside kubus: `make build` builds it")
	}
	o, err := roster.Store(i)
	if err != nil {
		return spec.Process{}, err
	}
	if err := store.Migrate(o.Dir); err != nil {
		return spec.Process{}, err
	}
	config, err := store.Render(o)
	if err != nil {
		return spec.Process{}, err
	}
	keys, err := roster.StoreKeys(i)
	if err != nil {
		return spec.Process{}, err
	}
	file := i.Path("config", "nats-server.conf")
	if err := instance.WriteFile(file, config, 0o600); err != nil {
		return spec.Process{}, err
	}
	return spec.Process{Name: "nats-server", Argv: []string{path, "-c", file}, StopSeconds: 30, Stamp: stampOf(append(config, keys...))}, nil
}

// foregroundKept keeps the processes until interrupted.
func foregroundKept(ctx context.Context, s streams, i *instance.Instance, b banner) error {
	if err := detach(ctx, s, i, b); err != nil {
		return errors.Join(err, stop(context.WithoutCancel(ctx), i, defaultGrace))
	}
	fmt.Fprintf(s.out, "Ctrl-C stops it. Logs are in %s.\n", i.LogDir())
	<-ctx.Done()
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 90*time.Second+stopLimit(i, defaultGrace))
	defer cancel()
	return stop(limited, i, defaultGrace)
}
