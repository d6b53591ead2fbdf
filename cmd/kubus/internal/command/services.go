package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kubus.dev/cmd/kubus-keeper/spec"
	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/preflight"
	"kubus.dev/cmd/kubus/internal/roster"
	"kubus.dev/proto/store"
)

// processes lists what the keeper keeps, in starting order. For the form with one
// process a service it also writes every configuration.
func processes(i *instance.Instance) ([]spec.Process, error) {
	if i.Form == instance.AllInOne {
		self, err := executable()
		if err != nil {
			return nil, err
		}
		return []spec.Process{{Name: "kubus", Argv: []string{self, "serve", "--data-dir", i.Dir}, StopSeconds: 30}}, nil
	}
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
	for _, s := range services {
		path, err := preflight.FindTool("kubus-" + s.Name)
		if err != nil {
			return nil, fmt.Errorf("kubus-%s is not beside kubus: `make build` builds it", s.Name)
		}
		list = append(list, spec.Process{Name: s.Name, Argv: []string{path, "-config", roster.ConfigFile(i, s.Name)}})
	}
	return list, nil
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
	file := i.Path("config", "nats-server.conf")
	if err := instance.WriteFile(file, config, 0o600); err != nil {
		return spec.Process{}, err
	}
	return spec.Process{Name: "nats-server", Argv: []string{path, "-c", file}, StopSeconds: 30}, nil
}

// foregroundServices keeps the services until interrupted.
func foregroundServices(ctx context.Context, s streams, i *instance.Instance, b banner) error {
	if err := detach(ctx, s, i, b); err != nil {
		return errors.Join(err, stop(context.WithoutCancel(ctx), i))
	}
	fmt.Fprintf(s.out, "Ctrl-C stops it. Logs are in %s.\n", i.LogDir())
	<-ctx.Done()
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 90*time.Second)
	defer cancel()
	return stop(limited, i)
}
