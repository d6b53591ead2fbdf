package command

import (
	"net"

	"github.com/spf13/cobra"

	"kubus.dev/cmd/kubus/internal/balance"
	"kubus.dev/services/kit"
)

func newBalance(streams) *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:   "balance HOST:PORT…",
		Short: "Be one address for several gateways",
		Long: `Take connections and pass each on to the next of the gateways that takes it. Nothing
is decrypted: clients and gateways know each other by their certificates.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			logger, err := kit.NewLogger(kit.DefaultCommon().Log)
			if err != nil {
				return err
			}
			defer func() { _ = logger.Sync() }()
			b, err := balance.New(logger, args...)
			if err != nil {
				return err
			}
			l, err := (&net.ListenConfig{}).Listen(cmd.Context(), "tcp", listen)
			if err != nil {
				return err
			}
			return b.Serve(cmd.Context(), l)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "0.0.0.0:6443", "address for clients")
	return cmd
}
