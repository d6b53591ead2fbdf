package command

import (
	"fmt"

	"github.com/spf13/pflag"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/sim"
)

// mostSimNodes is what the addresses of simulated nodes last for.
const mostSimNodes = 100_000

func simFlags(flags *pflag.FlagSet, f *upFlags) {
	flags.IntVar(&f.simNodes, "sim-nodes", 0, "simulated nodes beside this machine's: their pods run nothing")
	flags.StringVar(&f.simProfile, "sim-profile", "", "YAML file that says what simulated nodes and their pods are like (docs/scheduling.md)")
}

// checkSim tells what is wrong with the simulated nodes.
func checkSim(i *instance.Instance) (problems []error) {
	if i.SimNodes < 0 || i.SimNodes > mostSimNodes {
		problems = append(problems, fmt.Errorf("--sim-nodes %d: want 0 to %d", i.SimNodes, mostSimNodes))
	}
	if i.SimNodes > 0 && i.Form != instance.AllInOne {
		problems = append(problems, fmt.Errorf("--sim-nodes %d: simulated nodes are in the one process of --form %s", i.SimNodes, instance.AllInOne))
	}
	if _, err := sim.Load(i.SimProfile); err != nil && i.SimNodes > 0 {
		problems = append(problems, fmt.Errorf("--sim-profile: %w", err))
	}
	return problems
}
