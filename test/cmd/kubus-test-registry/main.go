// Command kubus-test-registry serves the images of the examples over plain HTTP.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"kubus.dev/test/registry"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:5000", "address to serve on")
	web := flag.String("web", "", "the built test/images/web")
	flag.Parse()
	r, err := registry.Start(*listen, *web)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer r.Close()
	fmt.Printf("serving %[1]s/web:v1, %[1]s/web:v2, %[1]s/busybox:1\n", r.Address)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	<-ctx.Done()
}
