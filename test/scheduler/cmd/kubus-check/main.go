// Kubus-check follows a cluster and says which bindings broke a rule of scheduling. Start it
// before the load, end it with Ctrl-C or -for; it ends with 1 when a rule was broken, and with
// 2 when it missed something.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"kubus.dev/services/scheduler/oracle/check"
)

func main() {
	kubeconfig := flag.String("kubeconfig", os.Getenv("KUBECONFIG"), "of the cluster")
	limit := flag.Duration("for", 0, "how long; 0 is until Ctrl-C")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *limit)
		defer cancel()
	}
	os.Exit(run(ctx, *kubeconfig))
}

func run(ctx context.Context, kubeconfig string) int {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		fmt.Fprintln(os.Stderr, "kubus-check:", err)
		return 2
	}
	config.QPS = -1
	config.ContentType = "application/json"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		fmt.Fprintln(os.Stderr, "kubus-check:", err)
		return 2
	}
	began := time.Now()
	c := check.New()
	err = c.Follow(ctx, client)
	fmt.Printf("%d bindings in %s, %d violations\n", c.Bound, time.Since(began).Round(time.Second), len(c.Violations))
	for i, v := range c.Violations {
		if i == 20 {
			fmt.Printf("and %d more\n", len(c.Violations)-i)
			break
		}
		fmt.Println(v)
	}
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "kubus-check:", err)
		return 2
	case len(c.Violations) > 0:
		return 1
	}
	return 0
}
