package command

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"kubus.dev/cmd/kubus/internal/archive"
	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/serve"
	whole "kubus.dev/services/kit/file"
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
	var head archive.Head
	var size counter
	err = whole.Fill(file, 0o600, func(w io.Writer) (err error) {
		head, err = serve.Backup(ctx, i, pid != 0, io.MultiWriter(w, &size), zap.NewNop())
		return err
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

// counter counts the bytes that are written to it.
type counter int64

func (c *counter) Write(data []byte) (int, error) {
	*c += counter(len(data))
	return len(data), nil
}
