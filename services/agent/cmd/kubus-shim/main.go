// Command kubus-shim holds the containers of one pod; the agent starts it. See internal/shim. It is also the first
// process of a pod's shared process namespace, and unpacks one layer of an image: see internal/layer.
package main

import (
	"os"
	"runtime/debug"

	"kubus.dev/services/agent/internal/layer"
	"kubus.dev/services/agent/internal/shim"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == layer.Command {
		layer.Main(os.Args[2])
	}
	debug.SetGCPercent(20)
	debug.SetMemoryLimit(24 << 20)
	if len(os.Args) > 1 && os.Args[1] == shim.InitCommand {
		shim.Init()
	}
	if len(os.Args) != 2 {
		os.Stderr.WriteString("kubus-shim is started by the node agent, one for each pod\n")
		os.Exit(2)
	}
	if err := os.Chdir(os.Args[1]); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	// Run ends the process itself after a shutdown request: what it returns is a failure.
	os.Stderr.WriteString(shim.Run().Error() + "\n")
	os.Exit(1)
}
