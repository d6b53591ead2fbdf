package command

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"kubus.dev/cmd/kubus/internal/roster"
	"kubus.dev/proto/cluster"
	"kubus.dev/services/kit"
)

func newRun(streams) *cobra.Command {
	return &cobra.Command{
		Use:   "run SERVICE [-config FILE]",
		Short: "Run one service in this process, as its own main does",
		Long: "Run one service in this process, as its own main does.\nServices: " +
			strings.Join(roster.Names(roster.All()), ", ") + ".",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("which service? There are: %s", strings.Join(roster.Names(roster.All()), ", "))
			}
			if args[0] == "-h" || args[0] == "--help" {
				return cmd.Help()
			}
			s, err := roster.Find(args[0])
			if err != nil {
				return err
			}
			cfg := s.Defaults()
			code := kit.Execute(s.Name, args[1:], cfg, func(ctx context.Context, p *kit.Process) error {
				o := s.Options(cfg)
				o.Logger = p.Logger
				c, err := cluster.Connect(ctx, o)
				if err != nil {
					return err
				}
				return s.Run(ctx, cfg, p, c)
			})
			if code != 0 {
				return &exitError{code}
			}
			return nil
		},
	}
}
