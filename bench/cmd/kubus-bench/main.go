// Command kubus-bench measures a Kubernetes API server, any one, through its
// kubeconfig, and puts the results of several runs into one table.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"kubus.dev/bench/internal/client"
	"kubus.dev/bench/internal/measure"
	"kubus.dev/bench/internal/table"
)

const usage = `usage:
  kubus-bench run -kubeconfig FILE [-name NAME] [-only FIGURE,FIGURE…] [-nodes 100] [-scale 1] [-controllers-pid PID] [-consumer IMAGE] [-stop COMMAND -start COMMAND] [-keep] [-out FILE]
  kubus-bench table FILE...     results of runs, several of one name are one column (median)
  kubus-bench verdict -base NAME -other NAME [-within 5] [-memory 5] FILE...     how one stands beside another
`

func main() {
	if err := command(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "kubus-bench:", err)
		os.Exit(1)
	}
}

func command(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("no command\n%s", usage)
	}
	switch args[0] {
	case "run":
		return run(args[1:])
	case "flood": // what run starts for the figures of that name
		return flood(args[1:])
	case "table":
		return table.Print(os.Stdout, args[1:])
	case "verdict":
		return verdict(args[1:])
	}
	return fmt.Errorf("unknown command %q\n%s", args[0], usage)
}

func run(args []string) error {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", os.Getenv("KUBECONFIG"), "kubeconfig with a client certificate")
	name := flags.String("name", "server", "what is measured: the column's name")
	only := flags.String("only", "", "figures to run, separated by commas; empty for all")
	var o measure.Options
	flags.Float64Var(&o.Scale, "scale", 1, "multiplies all amounts; figures are published at 1")
	flags.IntVar(&o.Nodes, "nodes", 100, "how many nodes pods are bound to")
	flags.IntVar(&o.ControllersPID, "controllers-pid", 0, "process of the controllers, for the figure memory, which is only run when it is given")
	flags.StringVar(&o.Consumer, "consumer", "", "image that serves POST /ConsumeCPU as upstream's resource-consumer, such as that of test/images/web, for the figure autoscale, which is only run when it is given, and needs a node")
	flags.StringVar(&o.Stop, "stop", "", "shell command that ends the server, for the figure crds-restart, which is only run when both are given")
	flags.StringVar(&o.Start, "start", "", "shell command that starts it again over the same data, and returns when it is ready")
	flags.BoolVar(&o.Keep, "keep", false, "leave what was made, on a server that is thrown away")
	out := flags.String("out", "", "file to append the results to, one JSON line each")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cfg, err := client.Load(*kubeconfig)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	log := func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	env := measure.NewEnv(cfg, o, fmt.Sprintf("%x", time.Now().Unix()&0xffffff), log)
	for _, f := range measure.All() {
		if *only == "" && (f.Name == "memory" && o.ControllersPID == 0 || f.Name == "autoscale" && o.Consumer == "" || f.Name == "crds-restart" && (o.Stop == "" || o.Start == "")) {
			continue
		}
		if *only != "" && !slices.Contains(strings.Split(*only, ","), f.Name) {
			continue
		}
		r, err := f.Run(ctx, env)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		line := table.Line{Server: *name, Figure: f.Name, What: f.What, Unit: f.Unit, Less: f.Less, Result: r}
		data, err := json.Marshal(line)
		if err != nil {
			return err
		}
		fmt.Println(string(data))
		if *out != "" {
			if err := appendLine(*out, data); err != nil {
				return err
			}
		}
	}
	return nil
}

// verdict tells whether one server is within the bounds of another.
func verdict(args []string) error {
	flags := flag.NewFlagSet("verdict", flag.ContinueOnError)
	base := flags.String("base", "before", "the column that is the measure")
	other := flags.String("other", "now", "the column that is judged")
	within := flags.Float64("within", 5, "by how many percent it may be worse")
	memory := flags.Float64("memory", 5, "how many MiB more of the figure idle-memory it may take")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return table.Verdict(os.Stdout, flags.Args(), *base, *other, map[string]table.Bound{"": {Share: *within / 100}, "idle-memory": {Absolute: *memory}})
}

// flood asks as much as it can until its input ends, and prints what became of it.
func flood(args []string) error {
	flags := flag.NewFlagSet("flood", flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", os.Getenv("KUBECONFIG"), "as of run")
	kind := flags.String("kind", "", "of what")
	ns := flags.String("namespace", "", "where")
	scale := flags.Float64("scale", 1, "as of run")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cfg, err := client.Load(*kubeconfig)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	go func() { // ends with the input
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	result, err := measure.Flood(ctx, cfg.WithToken(os.Getenv(measure.FloodToken)), *kind, *ns, *scale)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

func appendLine(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(data, '\n')); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
