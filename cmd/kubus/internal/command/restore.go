package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"kubus.dev/cmd/kubus/internal/archive"
	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/serve"
)

func newRestore(s streams) *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a cluster from a backup",
		Long: `Make a cluster from a file that ` + "`kubus backup`" + ` wrote, in a data directory that has none;
` + "`kubus up`" + ` starts it. Its resourceVersions are beyond all that the old cluster gave out, so
that those who watched that list again. Users' kubeconfigs and tokens stay valid.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.changed = cmd.Flags().Changed
			return restore(cmd.Context(), s, f, args[0])
		},
	}
	dataDirFlag(cmd, &f.dataDir)
	cmd.Flags().StringVar(&f.listen, "listen", "", "address of the API (default: that of the backup's cluster)")
	cmd.Flags().IntVar(&f.nodes, "nodes", 1, "as of `kubus up` (default: that of the backup's cluster)")
	return cmd
}

func restore(ctx context.Context, s streams, f upFlags, name string) (err error) {
	began := time.Now()
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	head, err := archive.Verify(file)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if f.dataDir, err = absolute(f.dataDir); err != nil {
		return err
	}
	old, err := instance.Load(f.dataDir)
	if err != nil {
		return err
	}
	if old != nil {
		return fmt.Errorf("there is a cluster in %s: choose another --data-dir, or remove it with `kubus down --purge`", f.dataDir)
	}
	i := reborn(head.Instance, f)
	if err := errors.Join(check(i)...); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := network(i, false, f); err != nil {
		return err
	}
	lock, err := instance.Lock(i.Dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	defer func() {
		if err != nil {
			err = errors.Join(err, clear(i))
		}
	}()
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := archive.Read(file, archive.Visitor{File: func(f archive.File) error { return serve.RestoreFile(i, f) }}); err != nil {
		return err
	}
	if err := keys(i); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := serve.Restore(ctx, i, head, file, zap.NewNop()); err != nil {
		return err
	}
	if err := i.Save(); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "The cluster as of %s is in %s (%s). Start it with `kubus up`.\n", head.Time.Format(time.RFC3339), i.Dir, time.Since(began).Round(10*time.Millisecond))
	return nil
}

// reborn is a backup's instance on this machine: what objects rest on is as it was, what is
// of the machine is chosen anew.
func reborn(was instance.Instance, f upFlags) *instance.Instance {
	i := &was
	i.Dir, i.ID = f.dataDir, instance.ID(f.dataDir, was.NodeName)
	i.NodeIP, i.Ports, i.Sysctls, i.Context, i.Kubeconfigs = "", nil, nil, "", nil
	if f.changed("listen") {
		i.Listen = f.listen
	}
	if f.changed("nodes") {
		if i.Nodes = f.nodes; f.nodes == 0 {
			i.Further = nil
		}
	}
	return i
}

// clear takes away what a restore that failed has made.
func clear(i *instance.Instance) error {
	var errs []error
	for _, part := range []string{"pki", "store", "config", "run", "log", "settings.yaml", "version", "instance.json", "lock"} {
		errs = append(errs, os.RemoveAll(i.Path(part)))
	}
	_ = os.Remove(i.Dir) // unless it has something of the user's
	return errors.Join(errs...)
}
