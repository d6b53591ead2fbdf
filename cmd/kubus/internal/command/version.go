package command

import (
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"kubus.dev/services/kit"
)

type versionInfo struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersion(s streams) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := versionInfo{kit.Version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			switch output {
			case "json":
				return json.NewEncoder(s.out).Encode(v)
			case "":
				_, err := fmt.Fprintf(s.out, "kubus %s (%s, %s)\n", v.Version, v.Go, v.Platform)
				return err
			}
			return fmt.Errorf("-o %s: only json is known", output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "json, or empty for text")
	return cmd
}
