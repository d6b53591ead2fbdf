package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"kubus.dev/cmd/kubus/internal/admin"
	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/nodenet"
	"kubus.dev/cmd/kubus/internal/roster"
	"kubus.dev/services/proxy"
)

// detachLimit is how long `up --detach` waits for the node.
const detachLimit = 60 * time.Second

func newUp(s streams) *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a cluster on this machine",
		Long: `Start a cluster on this machine: the control plane and, unless --nodes 0, a node.

In the foreground it logs to stderr and ends with Ctrl-C. With --detach it returns
when the node is Ready, and the cluster goes on until ` + "`kubus down`" + `. What was chosen
at the first start is kept in the data directory and need not be said again.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.changed = cmd.Flags().Changed
			return up(cmd.Context(), s, f)
		},
	}
	dataDirFlag(cmd, &f.dataDir)
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:6443", "address of the API")
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "file to add the cluster to (default: the user's own, as context kubus)")
	flags.StringVar(&f.nodeName, "node-name", "", "name of this machine's node (default: the host's name); further ones are NAME-2, NAME-3, …")
	flags.StringVar(&f.nodeIP, "node-ip", "", "address of this machine's node (default: that of the default route)")
	flags.IntVar(&f.nodes, "nodes", 1, "1: this machine is the node; more: further nodes on it, each with a network of its own; 0: control plane only, needs no root")
	flags.StringVar(&f.nodeCIDR, "node-cidr", "10.232.0.0/24", "addresses of further nodes; another free range when this is in use, unless given")
	flags.StringVar(&f.podNetwork, "pod-network", proxy.Routes, "how packets of pods get from node to node: routes, or in tunnels: vxlan")
	flags.StringVar(&f.podCIDR, "pod-cidr", "10.244.0.0/16", "addresses of pods; another free range when this is in use, unless given")
	flags.StringVar(&f.serviceCIDR, "service-cidr", "10.96.0.0/16", "addresses of Services; another free range when this is in use, unless given")
	flags.BoolVar(&f.detach, "detach", false, "return when every node is Ready")
	flags.StringVar(&f.store, "store", "", "nats://… of a NATS with JetStream to use instead of an own one")
	flags.StringVar(&f.storeNkey, "store-nkey", "", "directory with the nkey seed of each role for --store (gateway.nk, …); own: the cluster's own keys, for whose accounts the server includes DATA/config/nats-accounts.conf")
	flags.StringVar(&f.storeCA, "store-ca", "", "file with the authority of --store's certificate")
	flags.StringVar(&f.settings, "settings", "", "YAML file with settings of services, by service, as in their config.example.yaml; kept as DATA/settings.yaml")
	simFlags(flags, &f)
	flags.StringVar(&f.form, "form", instance.AllInOne, "allinone: everything in one process; services: each service in its own, against a separate nats-server")
	return cmd
}

func absolutePath(file string) (string, error) { return filepath.Abs(file) }

func up(ctx context.Context, s streams, f upFlags) error {
	began := time.Now()
	dir, err := absolute(f.dataDir)
	if err != nil {
		return err
	}
	f.dataDir = dir
	for _, file := range []*string{&f.storeNkey, &f.storeCA, &f.simProfile} {
		if *file != "" && *file != roster.OwnKeys {
			if *file, err = absolutePath(*file); err != nil {
				return err
			}
		}
	}
	old, err := instance.Load(dir)
	if err != nil {
		return err
	}
	i, err := plan(f, old, hostname())
	if err != nil {
		return err
	}
	pid, kept, err := instance.User(dir)
	if err != nil {
		return err
	}
	if old != nil && f.detach {
		left, err := orphans(old)
		if err != nil {
			return err
		}
		if len(left) > 0 { // a new keeper adopts them
			if err := startKeeper(old); err != nil {
				return err
			}
			for _, r := range left {
				pid = r.PID
			}
		}
	}
	if pid != 0 {
		if !f.detach || old == nil {
			return &instance.InUseError{Dir: dir, PID: pid}
		}
		return alreadyUp(ctx, s, f, old, i, pid, kept)
	}
	if err := network(i, old == nil, f); err != nil {
		return err
	}
	if err := checkMachine(i); err != nil {
		return err
	}
	if err := roster.CheckSettings(i, f.settings); err != nil {
		return err
	}
	lock, err := instance.Lock(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	file, current, err := prepare(ctx, i, f)
	if err != nil {
		return err
	}
	b := banner{i: i, file: file, current: current, began: began, moved: moved(i, old, f)}
	switch {
	case f.detach:
		lock.Close() // the process that serves takes it
		return detach(ctx, s, i, b)
	case i.Form == instance.Services || len(i.Further) > 0:
		lock.Close()
		return foregroundKept(ctx, s, i, b)
	}
	return foreground(ctx, s, i, b)
}

// prepare writes everything a start needs into the data directory and the kubeconfig.
func prepare(ctx context.Context, i *instance.Instance, f upFlags) (file string, current bool, err error) {
	if i.Nodes > 0 {
		if err := i.RememberSysctls(); err != nil {
			return "", false, err
		}
	}
	if err := i.Save(); err != nil {
		return "", false, err
	}
	if f.settings != "" {
		if err := roster.KeepSettings(i, f.settings); err != nil {
			return "", false, err
		}
	}
	if i.Nodes > 0 {
		if err := errors.Join(i.Register(), i.EnableSysctls()); err != nil {
			return "", false, err
		}
		if err := nodenet.Ensure(ctx, i); err != nil {
			return "", false, err
		}
	}
	if err := keys(i); err != nil {
		return "", false, err
	}
	if file, current, err = access(i, f.kubeconfig); err != nil {
		return "", false, err
	}
	return file, current, i.Save()
}

// alreadyUp makes a second `up` a no-op that says so.
func alreadyUp(ctx context.Context, s streams, f upFlags, old, wanted *instance.Instance, pid int, kept bool) error {
	if changed := differences(old, wanted); changed != "" {
		if old.Nodes > 0 && wanted.Nodes > old.Nodes {
			return fmt.Errorf("the cluster in %s runs (process %d) with %d nodes: add more with `kubus node add`", old.Dir, pid, old.Nodes)
		}
		return fmt.Errorf("the cluster in %s runs (process %d) with another %s: stop it first with `kubus down`", old.Dir, pid, changed)
	}
	if err := renew(old, time.Now()); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, detachLimit)
	defer cancel()
	if err := waitUp(limited, old); err != nil {
		return fmt.Errorf("the cluster in %s runs (process %d) but is not healthy: %w; see `kubus status` and %s", old.Dir, pid, err, old.LogDir())
	}
	file, current, err := access(old, f.kubeconfig)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "kubus is already up (process %d): nothing to do.\n", pid)
	banner{i: old, file: file, current: current}.next(s.out)
	return nil
}

func differences(a, b *instance.Instance) string {
	for _, c := range []struct{ flag, a, b string }{
		{"--listen", a.Listen, b.Listen}, {"--node-ip", a.NodeIP, b.NodeIP}, {"--form", a.Form, b.Form},
		{"--nodes", fmt.Sprint(a.Nodes), fmt.Sprint(b.Nodes)}, {"--sim-nodes", fmt.Sprint(a.SimNodes), fmt.Sprint(b.SimNodes)}, {"--sim-profile", a.SimProfile, b.SimProfile}, {"--store-nkey", a.StoreNkey, b.StoreNkey}, {"--store-ca", a.StoreCA, b.StoreCA},
	} {
		if c.a != c.b {
			return c.flag + " (" + c.a + ")"
		}
	}
	return ""
}

// moved tells which default range was in use, so that another one was taken.
func moved(i, old *instance.Instance, f upFlags) []string {
	var notes []string
	if old != nil {
		return nil
	}
	if i.PodCIDR != f.podCIDR {
		notes = append(notes, fmt.Sprintf("%s is in use on this machine, pods get %s", f.podCIDR, i.PodCIDR))
	}
	if i.ServiceCIDR != f.serviceCIDR {
		notes = append(notes, fmt.Sprintf("%s is in use on this machine, Services get %s", f.serviceCIDR, i.ServiceCIDR))
	}
	return notes
}

// waitUp waits until the API is ready and every node is Ready.
func waitUp(ctx context.Context, i *instance.Instance) error {
	c, err := admin.New(server(i), i.Path("pki"))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.WaitReady(ctx); err != nil {
		return err
	}
	if i.Nodes == 0 {
		return nil
	}
	for _, name := range i.NodeNames() {
		if err := c.WaitNode(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func foreground(ctx context.Context, s streams, i *instance.Instance, b banner) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	told := make(chan struct{})
	go func() { // ends with ctx at the latest; waited for below
		defer close(told)
		if err := waitUp(ctx, i); err == nil {
			b.print(s.out)
		}
	}()
	err := serveInstance(ctx, i)
	cancel()
	<-told
	if err != nil {
		return fmt.Errorf("the cluster stopped: %w", err)
	}
	if i.Nodes > 0 {
		return stopNodes(context.WithoutCancel(ctx), i, defaultGrace)
	}
	return nil
}

func executable() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(self)
}
