// Watch-events prints what changes in a Kubus cluster: one line for each change of
// an object, live, or from a place in the stream of changes on. It is an example
// for automation of your own: nothing of it is Kubus' but names on the bus.
//
//	watch-events -data-dir /var/lib/kubus -server tls://127.0.0.1:20123 'events.*.core.pods.>'
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "watch-events:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("watch-events", flag.ExitOnError)
	server := flags.String("server", "", "where the bus is; `kubus status` shows it")
	dir := flags.String("data-dir", "/var/lib/kubus", "the cluster's data directory, for the key and the bus's CA")
	after := flags.Uint64("after", 0, "begin behind this sequence, the last one handled; 0: with what changes from now on")
	if err := flags.Parse(args); err != nil {
		return err
	}
	key, err := nats.NkeyOptionFromSeed(filepath.Join(*dir, "pki", "bus", "automation.nk"))
	if err != nil {
		return fmt.Errorf("the key of role automation: %w", err)
	}
	nc, err := nats.Connect(*server, key, nats.RootCAs(filepath.Join(*dir, "pki", "bus-ca.crt")),
		nats.CustomInboxPrefix("_INBOX.automation"), // the role may hear no other answers
		nats.MaxReconnects(-1))
	if err != nil {
		return fmt.Errorf("reaching the bus at %q: %w", *server, err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	// In order, without gaps, over reconnects; nothing of it is kept in the cluster.
	o := jetstream.OrderedConsumerConfig{FilterSubjects: flags.Args(), DeliverPolicy: jetstream.DeliverNewPolicy}
	if *after > 0 {
		o.DeliverPolicy, o.OptStartSeq = jetstream.DeliverByStartSequencePolicy, *after+1
	}
	consumer, err := js.OrderedConsumer(ctx, "CHANGES", o)
	if err != nil {
		return fmt.Errorf("stream CHANGES: %w", err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("stream CHANGES: %w", err)
	}
	defer context.AfterFunc(ctx, messages.Stop)()
	for {
		m, err := messages.Next()
		if ctx.Err() != nil || errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		// m.Data() is the object as JSON, m.Headers() the CloudEvent's attributes.
		_, err = fmt.Fprintf(out, "%d %s %s revision %s, %d bytes\n", meta.Sequence.Stream,
			m.Headers().Get("ce-type"), m.Headers().Get("ce-subject"), m.Headers().Get("Kubus-Revision"), len(m.Data()))
		if err != nil {
			return err
		}
	}
}
