package command

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/serve"
	"kubus.dev/services/kit"
)

// newServe is what the keeper runs: the all-in-one process of an instance that
// `up` prepared.
func newServe(streams) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "serve", Short: "Serve a prepared instance in this process", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			i, err := instance.Load(dir)
			if err != nil {
				return err
			}
			if i == nil {
				return fmt.Errorf("there is no instance in %s", dir)
			}
			lock, err := instance.Lock(dir)
			if err != nil {
				return err
			}
			defer lock.Close()
			return serveInstance(cmd.Context(), i)
		},
	}
	dataDirFlag(cmd, &dir)
	return cmd
}

func serveInstance(ctx context.Context, i *instance.Instance) error {
	logger, err := kit.NewLogger(kit.DefaultCommon().Log)
	if err != nil {
		return err
	}
	defer func() { _ = logger.Sync() }()
	logger.Info("starting", zap.String("version", kit.Version), zap.String("instance", i.ID))
	err = serve.Run(ctx, i, logger)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = nil
	}
	if err != nil {
		logger.Error("stopped", zap.Error(err))
		return err
	}
	logger.Info("stopped")
	return nil
}
