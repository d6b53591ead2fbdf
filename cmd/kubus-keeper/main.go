// Command kubus-keeper keeps the processes of one kubus instance running. See
// package keep for what it promises; the operator's command writes its spec.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"kubus.dev/cmd/kubus-keeper/internal/keep"
	"kubus.dev/cmd/kubus-keeper/spec"
)

func main() {
	file := flag.String("spec", "", "file that names the processes to keep")
	alone := flag.Bool("alone", false, "start no standby keeper")
	flag.Parse()
	if err := run(*file, *alone); err != nil {
		fmt.Fprintln(os.Stderr, "kubus-keeper:", err)
		os.Exit(1)
	}
}

func run(file string, alone bool) error {
	debug.SetGCPercent(20)
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	s, err := spec.Load(file)
	if err != nil {
		return err
	}
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, spec.Reload)
	k := &keep.Keeper{Spec: s, File: file, Reload: reload, Log: log.New(os.Stderr, "", log.LstdFlags|log.LUTC|log.Lmsgprefix)}
	if !alone {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		k.Standby = []string{self, "-spec", file}
	}
	return k.Run(ctx)
}
