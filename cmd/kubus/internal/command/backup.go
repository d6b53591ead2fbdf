package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"kubus.dev/cmd/kubus/internal/archive"
	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/serve"
)

func newBackup(s streams) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write all objects and keys of the cluster into a file",
		Long: `Write all objects of the cluster, as they are at one moment, and its keys into a file,
while the cluster runs or not. ` + "`kubus restore`" + ` makes a cluster of it. What pods keep on
volumes is not in it. Who has the file has the cluster's keys. - is standard output.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return backup(cmd.Context(), s, dir, args[0])
		},
	}
	dataDirFlag(cmd, &dir)
	return cmd
}

func backup(ctx context.Context, s streams, dir, file string) error {
	dir, err := absolute(dir)
	if err != nil {
		return err
	}
	i, err := instance.Load(dir)
	if err != nil {
		return err
	}
	if i == nil {
		return fmt.Errorf("there is no cluster in %s", dir)
	}
	pid, _, err := instance.User(dir)
	if err != nil {
		return err
	}
	if pid == 0 {
		lock, err := instance.Lock(dir)
		if err != nil {
			return err
		}
		defer lock.Close()
	}
	if file == "-" {
		_, err := serve.Backup(ctx, i, pid != 0, s.out, zap.NewNop())
		return err
	}
	head, size, err := intoFile(file, func(w io.Writer) (archive.Head, error) {
		return serve.Backup(ctx, i, pid != 0, w, zap.NewNop())
	})
	if err != nil {
		return err
	}
	objects := 0
	for _, stream := range head.Streams {
		objects += stream.Objects
	}
	fmt.Fprintf(s.out, "%d objects in %d bytes, as of resourceVersion %d. Keep %s safe: it has the cluster's keys.\n", objects, size, head.Streams["STATE"].Revision, file)
	return nil
}

// intoFile writes a file that is there whole, or not at all.
func intoFile(file string, write func(io.Writer) (archive.Head, error)) (head archive.Head, size int64, err error) {
	out, err := os.CreateTemp(filepath.Dir(file), ".kubus-backup-*")
	if err != nil {
		return head, 0, err
	}
	defer out.Close()
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(out.Name()))
		}
	}()
	if head, err = write(out); err != nil {
		return head, 0, err
	}
	info, err := out.Stat()
	if err == nil {
		err = out.Sync()
	}
	if err == nil {
		err = os.Rename(out.Name(), file)
	}
	if err != nil {
		return head, 0, err
	}
	return head, info.Size(), nil
}
