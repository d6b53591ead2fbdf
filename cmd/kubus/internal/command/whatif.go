package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"kubus.dev/cmd/kubus/internal/roster"
	"kubus.dev/cmd/kubus/internal/whatif"
	"kubus.dev/services/scheduler"
)

// planFlags is what the user said to `kubus plan`.
type planFlags struct {
	files                 []string
	kubeconfig, namespace string
	dataDir               string
	configuration         string
}

func newPlan(s streams) *cobra.Command {
	var f planFlags
	cmd := &cobra.Command{
		Use:   "plan -f MANIFEST",
		Short: "Tell where the pods of a manifest would be placed, and why not",
		Long: `Tell where the pods of a manifest would be placed in the cluster as it is, and why not.

Nothing is written: the API is asked with dryRun what it would make of the objects, and the
scheduler's own code decides here. Nodes, claims, volumes and classes in the manifest count as if
they were there. Ends with exit code 2 when a pod would not run.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runPlan(cmd, s, &f) },
	}
	dataDirFlag(cmd, &f.dataDir)
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.files, "filename", "f", nil, "file with the manifest, - for the standard input; may be given several times")
	flags.StringVarP(&f.namespace, "namespace", "n", "", "namespace of objects that name none (default: that of the kubeconfig's context)")
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig of the cluster (default: that of the cluster in --data-dir, or else the user's own)")
	flags.StringVar(&f.configuration, "configuration", "", "file with the scheduler's KubeSchedulerConfiguration (default: that of the cluster in --data-dir)")
	return cmd
}

func runPlan(cmd *cobra.Command, s streams, f *planFlags) error {
	manifest, err := f.manifest(cmd.InOrStdin())
	if err != nil {
		return err
	}
	cfg := scheduler.Default()
	client, own, err := ofCluster(f.kubeconfig, f.dataDir)
	if err != nil {
		return err
	}
	if own != nil {
		configs, err := roster.Configs(own)
		if err != nil {
			return err
		}
		cfg = *configs["scheduler"].(*scheduler.Config)
	}
	if f.configuration != "" {
		cfg.Configuration = f.configuration
	}
	rest, err := client.ClientConfig()
	if err != nil {
		return fmt.Errorf("finding the cluster: %w", err)
	}
	rest.QPS = -1 // the API bounds what it takes
	if f.namespace == "" {
		if f.namespace, _, err = client.Namespace(); err != nil {
			return err
		}
	}
	api, err := whatif.OverHTTP(rest)
	if err != nil {
		return err
	}
	outcomes, err := whatif.Plan(cmd.Context(), api, cfg, manifest, f.namespace)
	if err != nil {
		return err
	}
	if !whatif.Print(s.out, outcomes) {
		return &exitError{2}
	}
	return nil
}

// manifest joins the files.
func (f *planFlags) manifest(stdin io.Reader) (io.Reader, error) {
	if len(f.files) == 0 {
		return nil, errors.New("which manifest? Name it with -f")
	}
	var all bytes.Buffer
	for _, file := range f.files {
		data, err := func() ([]byte, error) {
			if file == "-" {
				return io.ReadAll(stdin)
			}
			return os.ReadFile(file)
		}()
		if err != nil {
			return nil, fmt.Errorf("reading the manifest: %w", err)
		}
		all.WriteString("---\n")
		all.Write(data)
		all.WriteString("\n")
	}
	return &all, nil
}
