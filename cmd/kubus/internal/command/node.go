package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"kubus.dev/cmd/kubus-keeper/spec"
	"kubus.dev/cmd/kubus/internal/admin"
	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/nodenet"
	"kubus.dev/cmd/kubus/internal/preflight"
	"kubus.dev/services/agent"
)

func newNode(s streams) *cobra.Command {
	dir := new(string)
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Add, remove, drain and list the nodes of this machine",
		Long: `Add, remove, drain and list the nodes of this machine.

The first node is the machine itself. Each further one has a network namespace with an
address of its own, its own containers, images and volumes, and its own agent and proxy.`,
	}
	cmd.PersistentFlags().StringVar(dir, "data-dir", DefaultDataDir, "directory of the cluster's data")
	cmd.AddCommand(newNodeList(s, dir), newNodeAdd(s, dir), newNodeRemove(s, dir),
		newNodeKubectl(s, dir, "cordon", "Keep new pods off a node"),
		newNodeKubectl(s, dir, "uncordon", "Let new pods onto a node again"),
		newNodeKubectl(s, dir, "drain", "Cordon a node and evict its pods, but those of DaemonSets", "--ignore-daemonsets", "--delete-emptydir-data"))
	return cmd
}

// existing is the instance of a data directory, for commands that need one.
func existing(dir string) (*instance.Instance, error) {
	dir, err := absolute(dir)
	if err != nil {
		return nil, err
	}
	i, err := instance.Load(dir)
	if err == nil && i == nil {
		err = fmt.Errorf("there is no cluster in %s: start one with `kubus up`", dir)
	}
	return i, err
}

func newNodeKubectl(s streams, dir *string, verb, short string, flags ...string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " NODE [-- FLAGS...]", Short: short, Args: cobra.MinimumNArgs(1),
		Long: short + ", as `kubectl " + strings.Join(append([]string{verb}, flags...), " ") + "`; what follows -- is given to it too.",
		RunE: func(cmd *cobra.Command, args []string) error {
			i, err := existing(*dir)
			if err != nil {
				return err
			}
			return kubectl(cmd.Context(), s, i, append(append([]string{verb, args[0]}, flags...), args[1:]...)...)
		},
	}
}

// kubectl runs the one beside kubus as the cluster's administrator.
func kubectl(ctx context.Context, s streams, i *instance.Instance, args ...string) error {
	path, err := preflight.FindTool("kubectl")
	if err != nil {
		return errors.New("kubectl is not beside kubus: `make build` builds it")
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+i.AdminConfig())
	cmd.Stdout, cmd.Stderr = s.out, s.err
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		return &exitError{exit.ExitCode()} // it has told why
	} else if err != nil {
		return fmt.Errorf("running kubectl: %w", err)
	}
	return nil
}

func newNodeList(s streams, dir *string) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the nodes of this machine", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			i, err := existing(*dir)
			if err != nil {
				return err
			}
			return listNodes(cmd.Context(), s, i)
		},
	}
}

func listNodes(ctx context.Context, s streams, i *instance.Instance) error {
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	known := map[string]admin.Node{}
	c, err := admin.New(server(i), i.Path("pki"))
	if err == nil {
		defer c.Close()
		var list []admin.Node
		if list, err = c.Nodes(limited); err == nil {
			for _, n := range list {
				known[n.Metadata.Name] = n
			}
		}
	}
	t := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tADDRESS\tREADY\tPODS\tPLACE")
	for _, n := range i.AllNodes() {
		place := "this machine"
		if n.Own() {
			place = n.Namespaces
		}
		ready, pods := "unknown", ""
		if k, ok := known[n.Name]; ok {
			ready, pods = strings.ToLower(k.Ready().Status), k.Spec.PodCIDR
			if k.Spec.Unschedulable {
				ready += ", cordoned"
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", n.Name, n.IP, ready, pods, place)
	}
	if flushing := t.Flush(); flushing != nil {
		return flushing
	}
	if err != nil {
		return fmt.Errorf("how the nodes are is not known: %w", err)
	}
	return nil
}

func newNodeAdd(s streams, dir *string) *cobra.Command {
	return &cobra.Command{
		Use: "add [NAME]", Short: "Add a node to this machine", Args: cobra.MaximumNArgs(1),
		Long: `Add a node to this machine. The control plane learns of its keys by a restart, some
seconds without the API; containers, Services and the other nodes go on.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			i, err := existing(*dir)
			if err != nil {
				return err
			}
			return addNode(cmd.Context(), s, i, strings.Join(args, ""))
		},
	}
}

func addNode(ctx context.Context, s streams, i *instance.Instance, name string) error {
	if i.Nodes == 0 {
		return errors.New("this machine is no node: make it one with `kubus up --nodes 1` first")
	}
	if os.Geteuid() != 0 {
		return errors.New("running containers needs root: call it with sudo")
	}
	if name != "" {
		if err := nodeName(name); err != nil {
			return fmt.Errorf("node name %q: %w", name, err)
		}
	}
	running, err := kept(i)
	if err != nil {
		return err
	}
	n, err := i.AddNode(name)
	if err != nil {
		return err
	}
	if err := errors.Join(check(i)...); err != nil {
		return err
	}
	if !running {
		if err := i.Save(); err != nil {
			return err
		}
		fmt.Fprintf(s.out, "Node %s comes with the next `kubus up`.\n", n.Name)
		return nil
	}
	if err := reshape(ctx, i); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, detachLimit)
	defer cancel()
	if err := waitUp(limited, i); err != nil {
		return notUp(i, err)
	}
	fmt.Fprintf(s.out, "Node %s (%s) is Ready.\n", n.Name, n.IP)
	return nil
}

// kept tells whether a keeper keeps the cluster, and refuses one in the foreground, which
// nobody can tell of a change.
func kept(i *instance.Instance) (bool, error) {
	pid, kept, err := instance.User(i.Dir)
	if err == nil && pid != 0 && !kept {
		err = fmt.Errorf("the cluster runs in the foreground (process %d): stop it, and start it with --detach or with another --nodes", pid)
	}
	return kept, err
}

// reshape makes what the instance's nodes need and has the keeper follow.
func reshape(ctx context.Context, i *instance.Instance) error {
	if err := nodenet.Ensure(ctx, i); err != nil {
		return err
	}
	if err := keys(i); err != nil {
		return err
	}
	if err := errors.Join(i.Save(), i.Register()); err != nil {
		return err
	}
	return follow(ctx, i)
}

// follow has the keeper follow what is to be kept now: when it returns, what is no longer
// kept has stopped, and what is new or changed has been started.
func follow(ctx context.Context, i *instance.Instance) error {
	file, err := writeSpec(i)
	if err != nil {
		return err
	}
	keeper, err := spec.Active(i.RunDir())
	if err != nil {
		return err
	}
	if keeper == nil {
		return errors.New("the cluster stopped meanwhile: the change comes with the next `kubus up`")
	}
	if err := keeper.Signal(spec.Reload); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, 2*detachLimit) // containers' ends are not waited for, only agents'
	defer cancel()
	for !spec.Applied(i.RunDir(), file) {
		select {
		case <-limited.Done():
			return fmt.Errorf("the keeper has not followed in time; see %s", i.LogDir())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

func newNodeRemove(s streams, dir *string) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "remove NODE", Short: "Drain a node of this machine and remove it with its data", Args: cobra.ExactArgs(1),
		Long: `Drain a node of this machine and remove it with everything it holds: containers, images and
the volumes of claims of class local. The control plane restarts, as with add.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			i, err := existing(*dir)
			if err != nil {
				return err
			}
			return removeNode(cmd.Context(), s, i, args[0], force)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "do not drain it first: its pods end at once")
	return cmd
}

func removeNode(ctx context.Context, s streams, i *instance.Instance, name string, force bool) error {
	if name == i.NodeName {
		return fmt.Errorf("node %s is this machine itself: `kubus down` stops it", name)
	}
	var node instance.Node
	for _, n := range i.FurtherNodes() {
		if n.Name == name {
			node = n
		}
	}
	if node.Name == "" {
		return fmt.Errorf("this machine has no node %s; it has: %s", name, strings.Join(i.NodeNames(), ", "))
	}
	if os.Geteuid() != 0 {
		return errors.New("stopping containers needs root: call it with sudo")
	}
	running, err := kept(i)
	if err != nil {
		return err
	}
	if !running && !force {
		return errors.New("the cluster is down, so the node cannot be drained: start it with `kubus up`, or remove the node with --force")
	}
	if !force {
		if err := kubectl(ctx, s, i, "drain", name, "--ignore-daemonsets", "--delete-emptydir-data", "--force"); err != nil {
			return err
		}
	}
	i.ForgetNode(name)
	if running {
		if err := reshape(ctx, i); err != nil {
			return err
		}
	}
	if err := clearNode(ctx, i, node); err != nil {
		return fmt.Errorf("removing what is left of node %s, `kubus down` removes it too: %w", name, err)
	}
	if err := i.Save(); err != nil {
		return err
	}
	if running {
		limited, cancel := context.WithTimeout(ctx, detachLimit)
		defer cancel()
		if err := waitUp(limited, i); err != nil {
			return notUp(i, err)
		}
		if err := kubectl(ctx, streams{os.Stderr, s.err}, i, "delete", "node", name, "--ignore-not-found"); err != nil {
			return err
		}
	}
	fmt.Fprintf(s.out, "Node %s is gone, with its data.\n", name)
	return nil
}

// clearNode removes a stopped node from the machine.
func clearNode(ctx context.Context, i *instance.Instance, n instance.Node) error {
	if err := agent.Purge(ctx, agentConfig(i, n), zap.NewNop()); err != nil {
		return err
	}
	if err := nodenet.Remove(i, n); err != nil {
		return err
	}
	if len(i.Further) == 0 {
		if err := nodenet.Purge(ctx, i); err != nil {
			return err
		}
	}
	return os.RemoveAll(n.Dir)
}
