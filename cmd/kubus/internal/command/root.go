// Package command is the operator's command line: up, down, status, plan, policy, node, keys, run, kubectl,
// config, balance, envtest and version. Each file holds one of them; what they stand on are the packages
// beside this one.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
)

// DefaultDataDir is where an instance lives unless told otherwise.
const DefaultDataDir = "/var/lib/kubus"

// streams are the command's own, so that tests can give others.
type streams struct {
	out, err io.Writer
}

// exitError carries an exit code for an outcome that was already told.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// Execute runs the command line and gives the exit code.
func Execute(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := New(os.Stdout, os.Stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var exit *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.code
	}
	fmt.Fprintln(os.Stderr, "kubus:", err)
	return 1
}

// New makes the command line.
func New(out, errOut io.Writer) *cobra.Command {
	s := streams{out, errOut}
	root := &cobra.Command{
		Use:               "kubus",
		Short:             "A Kubernetes-compatible cluster in one command",
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetOut(out)
	root.SetErr(errOut)
	root.AddCommand(newUp(s), newDown(s), newStatus(s), newPlan(s), newPolicy(s), newNode(s), newKeys(s), newConfig(s), newBalance(s), newImage(s), newRun(s), newKubectl(s), newVersion(s), newBackup(s), newRestore(s), newServe(s), newEnvtest(s), newEnvtestEtcd(s), newEnvtestAPIServer(s))
	return root
}

func dataDirFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "data-dir", DefaultDataDir, "directory of the cluster's data")
}

func absolute(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if resolved, err := filepath.EvalSymlinks(abs); err == nil {
		abs = resolved
	}
	return abs, nil
}
