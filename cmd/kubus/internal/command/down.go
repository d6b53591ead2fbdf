package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/kubeconfig"
)

func newDown(s streams) *cobra.Command {
	var dir string
	var purge, yes bool
	var grace time.Duration
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop the cluster of this machine",
		Long: `Stop the cluster of this machine and everything that runs in it. Its data stays and
` + "`kubus up`" + ` goes on with it. With --purge the data and every change to the host go too.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := absolute(dir)
			if err != nil {
				return err
			}
			if purge && !yes && !confirmed(s, dir) {
				return errors.New("nothing was removed: confirm with --yes")
			}
			return down(cmd.Context(), s, dir, purge, grace)
		},
	}
	dataDirFlag(cmd, &dir)
	cmd.Flags().DurationVar(&grace, "grace", defaultGrace, "what pods get at most to end, beside their own grace periods; 0s: kill them; the setting shutdownGracePeriod of the agent wins")
	cmd.Flags().BoolVar(&purge, "purge", false, "also remove the data and every change to the host")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask before --purge")
	return cmd
}

func confirmed(s streams, dir string) bool {
	fmt.Fprintf(s.err, "Remove the cluster in %s with all its data? Type yes: ", dir)
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	return strings.TrimSpace(line) == "yes"
}

func down(ctx context.Context, s streams, dir string, purge bool, grace time.Duration) error {
	i, err := instance.Load(dir)
	if err != nil {
		return err
	}
	if i == nil {
		fmt.Fprintf(s.out, "There is no cluster in %s: nothing to do.\n", dir)
		return nil
	}
	if i.Nodes > 0 && os.Geteuid() != 0 {
		return errors.New("stopping containers needs root: call it with sudo")
	}
	limited, cancel := context.WithTimeout(ctx, 2*time.Minute+time.Duration(len(i.Further))*10*time.Second+stopLimit(i, grace))
	defer cancel()
	if err := stop(limited, i, grace); err != nil {
		return err
	}
	if !purge {
		fmt.Fprintf(s.out, "The cluster in %s is down; its data stays there.\n", dir)
		return nil
	}
	if err := removeAll(limited, i); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "The cluster in %s is gone, with its data and its changes to this machine.\n", dir)
	if i.Store != "" {
		fmt.Fprintf(s.out, "Its streams in %s were left: they are not ours to remove.\n", i.Store)
	}
	return nil
}

// stop ends the processes of an instance, then what they ran: pods get grace at most.
func stop(ctx context.Context, i *instance.Instance, grace time.Duration) error {
	if err := stopOrphans(ctx, i); err != nil {
		return err
	}
	for {
		pid, _, err := instance.User(i.Dir)
		if err != nil {
			return err
		}
		if pid == 0 {
			break
		}
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stopping process %d: %w", pid, err)
		}
		if err := awaitEnd(ctx, pid); err != nil {
			return err
		}
		// A standby keeper may have taken over from one that died: look again.
	}
	if i.Nodes > 0 {
		return stopNodes(ctx, i, grace)
	}
	return nil
}

// removeAll removes the data and every trace on the host of a stopped instance.
func removeAll(ctx context.Context, i *instance.Instance) error {
	var problems []error
	if i.Nodes > 0 {
		problems = append(problems, purgeNodes(ctx, i))
	}
	for _, file := range i.Kubeconfigs {
		problems = append(problems, kubeconfig.Remove(file, i.Context))
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("removing the cluster, call it again when this is cured: %w", err)
	}
	if i.Nodes > 0 {
		if err := errors.Join(i.Unregister(), i.RestoreSysctls()); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(i.Dir); err != nil {
		return fmt.Errorf("removing the data: %w", err)
	}
	return nil
}
