package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kubus.dev/cmd/kubus-keeper/spec"
	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/pki"
	"kubus.dev/cmd/kubus/internal/roster"
	"kubus.dev/proto/bus"
)

// What can be rotated beside the keys of the bus's clients.
const (
	busCertificate = "bus"    // the certificate of the bus, with its key
	busAuthority   = "bus-ca" // who vouches for it, and so the certificate as well
	logSigning     = "log"    // the key under which gateways sign the log
)

func newKeys(s streams) *cobra.Command {
	dir := new(string)
	cmd := &cobra.Command{Use: "keys", Short: "Change the cluster's keys on the bus"}
	cmd.PersistentFlags().StringVar(dir, "data-dir", DefaultDataDir, "directory of the cluster's data")
	var wait time.Duration
	rotate := &cobra.Command{
		Use: "rotate [ROLE...]", Short: "Make new keys on the bus, after which the old ones open nothing",
		Long: `Make new keys on the bus, after which the old ones open nothing: those of the roles that are
named (gateway, agent, agent-NODE, controllers, …), or, without a name, of all roles, and the
bus's certificate. By name only: the authority of that certificate (bus-ca) and the key that
signs the log (log), for which the control plane starts twice and the log is signed anew.

What has to be is restarted: the bus, and whoever has a new key; in the form with everything in
one process that is the process. Containers and Services go on.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			i, err := existing(*dir)
			if err != nil {
				return err
			}
			r, err := rotationOf(i, args)
			if err != nil {
				return err
			}
			return rotateKeys(cmd.Context(), s, i, r, wait)
		},
	}
	rotate.Flags().DurationVar(&wait, "wait", 5*time.Minute, "how long a NATS that is not ours may take to read its accounts again")
	cmd.AddCommand(rotate)
	return cmd
}

// rotation is what is to be changed.
type rotation struct {
	clients                     []string // the names of their keys
	certificate, authority, log bool
}

// rotationOf tells what the words on the command line mean, all that is ours without any.
func rotationOf(i *instance.Instance, words []string) (r rotation, _ error) {
	all := len(words) == 0
	if all {
		r.clients, r.certificate = roster.KeyNames(i), i.Store == ""
	}
	for _, word := range words {
		switch word {
		case busCertificate:
			r.certificate = true
		case busAuthority:
			r.certificate, r.authority = true, true
		case logSigning:
			r.log = true
		default:
			found := roster.FindKeys(i, word)
			if len(found) == 0 {
				return r, fmt.Errorf("there is no key of %q; there are: %s %s %s %s", word, strings.Join(roster.KeyNames(i), " "), busCertificate, busAuthority, logSigning)
			}
			r.clients = append(r.clients, found...)
		}
	}
	slices.Sort(r.clients)
	r.clients = slices.Compact(r.clients)
	if i.Store != "" && r.certificate {
		return r, fmt.Errorf("the certificate of %s is not ours to change", i.Store)
	}
	if i.Store != "" && i.StoreNkey != roster.OwnKeys && len(r.clients) > 0 {
		return r, fmt.Errorf("the keys for %s are not ours to change: change them where they were made, and start the cluster anew", i.Store)
	}
	return r, nil
}

func (r rotation) String() string {
	words := slices.Clone(r.clients)
	if r.certificate {
		words = append(words, "the certificate of the bus")
	}
	if r.authority {
		words = append(words, "its authority")
	}
	return strings.Join(words, ", ")
}

func rotateKeys(ctx context.Context, s streams, i *instance.Instance, r rotation, wait time.Duration) error {
	if i.Nodes > 0 && os.Geteuid() != 0 {
		return errors.New("the keys are root's: call it with sudo")
	}
	running, err := kept(i)
	if err != nil {
		return err
	}
	if r.log && !running {
		return errors.New("the log is signed anew by a gateway: start the cluster with `kubus up` first")
	}
	if len(r.clients) > 0 || r.certificate {
		if err := newBusKeys(i, r); err != nil {
			return err
		}
		fmt.Fprintf(s.out, "New: %s.\n", r)
		if !running {
			fmt.Fprintln(s.out, "They are in force from the next `kubus up`.")
		}
		if i.Store != "" && len(r.clients) > 0 {
			fmt.Fprintf(s.out, "Have the NATS at %s read its configuration again (nats-server --signal reload): the accounts in %s have changed.\n", i.Store, roster.AccountsFile(i))
			if running {
				if err := admitted(ctx, i, r.clients[0], wait); err != nil {
					return err
				}
			}
		}
		if running {
			if err := restarted(ctx, s, i); err != nil {
				return err
			}
		}
		tellHolders(s, i, r)
	}
	if r.log {
		return rotateLog(ctx, s, i)
	}
	return nil
}

// newBusKeys puts the new ones in place of the old ones.
func newBusKeys(i *instance.Instance, r rotation) error {
	if err := pki.RotateClients(i.Path("pki"), r.clients); err != nil {
		return err
	}
	if r.certificate {
		if err := pki.DropBusCertificate(i.Path("pki"), r.authority); err != nil {
			return err
		}
	}
	return keys(i) // and the accounts for a store that is not ours
}

// admitted waits until a store that is not ours knows a client's new key. Meanwhile the
// cluster goes on with the old ones.
func admitted(ctx context.Context, i *instance.Instance, client string, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	o := bus.Options{URL: i.Store, CAFile: i.StoreCA, Name: "kubus keys", NkeySeedFile: i.PKI("bus/" + client + ".nk"), NoWait: true}
	for {
		conn, err := bus.Connect(ctx, o)
		if err == nil {
			_ = conn.Drain()
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the NATS does not know the new keys yet, have it read its configuration and call this again: %w", err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// restarted has the keeper start anew what has read other keys, waits until the cluster is
// up, and tells what that took.
func restarted(ctx context.Context, s streams, i *instance.Instance) error {
	before, err := spec.Load(i.Path("keeper.json"))
	if err != nil {
		return err
	}
	began := time.Now()
	if err := follow(ctx, i); err != nil {
		return err
	}
	after, err := spec.Load(i.Path("keeper.json"))
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, detachLimit)
	defer cancel()
	if err := waitUp(limited, i); err != nil {
		return notUp(i, err)
	}
	changed := changedProcesses(before, after)
	if len(changed) == 0 {
		fmt.Fprintln(s.out, "Nothing that runs had to be restarted.")
		return nil
	}
	fmt.Fprintf(s.out, "Restarted: %s. The cluster was up again after %.1f s.\n", strings.Join(changed, ", "), time.Since(began).Seconds())
	return nil
}

// changedProcesses names those of after that are not as before.
func changedProcesses(before, after *spec.Spec) []string {
	var names []string
	for _, p := range after.Processes {
		if !slices.ContainsFunc(before.Processes, func(old spec.Process) bool { return p.Same(&old) }) {
			names = append(names, p.Name)
		}
	}
	return names
}

// tellHolders names the files of which others may have copies.
func tellHolders(s streams, i *instance.Instance, r rotation) {
	for _, client := range []string{"automation"} {
		if slices.Contains(r.clients, client) {
			fmt.Fprintf(s.out, "Whoever connects by a copy of %s needs the new one.\n", i.PKI("bus/"+client+".nk"))
		}
	}
	if r.authority {
		fmt.Fprintf(s.out, "Whoever has a copy of %s needs the new one.\n", i.PKI("bus-ca.crt"))
	}
}

// rotateLog puts a new key before those that sign the log, has the gateway start, which
// signs anew what is under another, and then start once more without the others. Called
// again after it was interrupted it keeps what may still be needed.
func rotateLog(ctx context.Context, s streams, i *instance.Instance) error {
	if err := pki.AddLogKey(i.Path("pki")); err != nil {
		return err
	}
	fmt.Fprintln(s.out, "New: the key that signs the log. The gateway signs anew what is under the old one.")
	if err := restarted(ctx, s, i); err != nil {
		return err
	}
	if err := pki.ForgetLogKeys(i.Path("pki")); err != nil {
		return err
	}
	fmt.Fprintln(s.out, "The old one is forgotten.")
	return restarted(ctx, s, i)
}
