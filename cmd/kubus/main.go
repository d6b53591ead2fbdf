// Command kubus is the operator's command: it starts, stops and looks at a cluster
// on this machine. See package command.
package main

import (
	"os"

	"kubus.dev/cmd/kubus/internal/command"
)

func main() { os.Exit(command.Execute(os.Args[1:])) }
