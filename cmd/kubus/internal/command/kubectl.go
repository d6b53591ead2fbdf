package command

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/preflight"
)

func newKubectl(streams) *cobra.Command {
	return &cobra.Command{
		Use:                "kubectl [--data-dir DIR] ARGS...",
		Short:              "Run the kubectl beside kubus with this cluster's kubeconfig",
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			dir, args := splitDataDir(args)
			dir, err := absolute(dir)
			if err != nil {
				return err
			}
			i := &instance.Instance{Dir: dir}
			config := i.AdminConfig()
			if _, err := os.Stat(config); err != nil {
				return fmt.Errorf("no cluster's kubeconfig can be read at %s (%w): start one with `kubus up`, or name its --data-dir", config, err)
			}
			if i, err = instance.Load(dir); err != nil {
				return err
			}
			if i != nil {
				if err := renew(i, time.Now()); err != nil {
					return err
				}
			}
			path, err := preflight.FindTool("kubectl")
			if err != nil {
				return fmt.Errorf("kubectl is not beside kubus: `make build` builds it")
			}
			env := append(os.Environ(), "KUBECONFIG="+config)
			return syscall.Exec(path, append([]string{"kubectl"}, args...), env)
		},
	}
}

// splitDataDir takes a leading --data-dir off kubectl's arguments.
func splitDataDir(args []string) (dir string, rest []string) {
	if len(args) >= 2 && args[0] == "--data-dir" {
		return args[1], args[2:]
	}
	if len(args) >= 1 {
		if dir, ok := strings.CutPrefix(args[0], "--data-dir="); ok {
			return dir, args[1:]
		}
	}
	if dir := os.Getenv("KUBUS_DATA_DIR"); dir != "" {
		return dir, args
	}
	return DefaultDataDir, args
}
