package command

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"kubus.dev/cmd/kubus/internal/envtest"
	"kubus.dev/cmd/kubus/internal/preflight"
	"kubus.dev/services/kit"
)

func newEnvtest(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "envtest DIR",
		Short: "Write programs with which controller-runtime's envtest runs on kubus",
		Long: `Write etcd, kube-apiserver and kubectl into a folder, for controller-runtime's
envtest and tests like it, and print the folder:

    KUBEBUILDER_ASSETS=$(kubus envtest /tmp/assets) go test ./...

They start this kubus: an API server with a store and nothing else.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := absolutePath(args[0])
			if err != nil {
				return err
			}
			self, err := executable()
			if err != nil {
				return err
			}
			kubectl, err := preflight.FindTool("kubectl")
			if err != nil {
				return fmt.Errorf("kubectl is not beside kubus: `make build` builds it")
			}
			if err := envtest.Write(dir, self, kubectl); err != nil {
				return err
			}
			fmt.Fprintln(s.out, dir)
			return nil
		},
	}
}

func newEnvtestEtcd(s streams) *cobra.Command {
	var f envtest.EtcdFlags
	return standIn(s, envtest.EtcdCommand, "Stand in for etcd", f.Add, func(cmd *cobra.Command) error {
		return envtest.Etcd(cmd.Context(), f)
	})
}

func newEnvtestAPIServer(s streams) *cobra.Command {
	var f envtest.APIServerFlags
	return standIn(s, envtest.APIServerCommand, "Stand in for kube-apiserver", f.Add, func(cmd *cobra.Command) error {
		logger, err := kit.NewLogger(kit.DefaultCommon().Log)
		if err != nil {
			return err
		}
		defer func() { _ = logger.Sync() }()
		err = envtest.APIServer(cmd.Context(), f, logger)
		if err != nil {
			logger.Error("stopped", zap.Error(err))
		}
		return err
	})
}

// standIn is a program that is called with another's flags.
func standIn(s streams, name, short string, add func(*pflag.FlagSet), run func(*cobra.Command) error) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short, Hidden: true, Args: cobra.ArbitraryArgs, FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true}}
	add(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ignored, err := envtest.Unknown(cmd.Flags(), os.Args[1:])
		if err != nil {
			return err
		}
		for _, flag := range ignored {
			fmt.Fprintf(s.err, "kubus: %s means nothing here and is ignored\n", flag)
		}
		return run(cmd)
	}
	return cmd
}
