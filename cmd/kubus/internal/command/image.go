package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/services/agent"
)

// imageFlags choose the nodes whose images are meant.
type imageFlags struct {
	dir, node string
}

// nodes are those of the machine, or the one that was asked for.
func (f *imageFlags) nodes() ([]instance.Node, error) {
	i, err := existing(f.dir)
	if err != nil {
		return nil, err
	}
	all := i.AllNodes()
	if f.node == "" {
		return all, nil
	}
	at := slices.IndexFunc(all, func(n instance.Node) bool { return n.Name == f.node })
	if at < 0 {
		return nil, fmt.Errorf("there is no node %q on this machine: `kubus node list`", f.node)
	}
	return all[at : at+1], nil
}

// each has a thing done on every node, and gives what went wrong by node.
func (f *imageFlags) each(do func(n instance.Node) error) error {
	nodes, err := f.nodes()
	if err != nil {
		return err
	}
	var failed []error
	for _, n := range nodes {
		if err := do(n); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", n.Name, err))
		}
	}
	return errors.Join(failed...)
}

func newImage(s streams) *cobra.Command {
	f := &imageFlags{}
	cmd := &cobra.Command{
		Use:   "image",
		Short: "List, pull, import and remove the images of this machine's nodes",
		Long: `List, pull, import and remove the images of this machine's nodes.

What is pulled here comes from the registries and mirrors that pods get theirs from
(registriesFile and registriesDir of the agent), without pull secrets.`,
	}
	cmd.PersistentFlags().StringVar(&f.dir, "data-dir", DefaultDataDir, "directory of the cluster's data")
	cmd.PersistentFlags().StringVar(&f.node, "node", "", "one node instead of all of this machine")
	cmd.AddCommand(newImageList(s, f), newImagePull(s, f), newImageImport(s, f), newImageRemove(s, f))
	return cmd
}

func newImageList(s streams, f *imageFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List images", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "NODE\tIMAGE\tID\tSIZE")
			err := f.each(func(n instance.Node) error { return listImages(cmd.Context(), t, n) })
			return errors.Join(err, t.Flush())
		},
	}
}

func listImages(ctx context.Context, t io.Writer, n instance.Node) error {
	images, err := agent.Images(n.RunDir).List(ctx)
	if err != nil {
		return err
	}
	type row struct{ name, id, size string }
	var rows []row
	for _, img := range images {
		names := img.Tags
		if len(names) == 0 {
			names = img.Digests
		}
		if len(names) == 0 {
			names = []string{"<none>"}
		}
		_, id, _ := strings.Cut(img.ID, ":")
		for _, name := range names {
			rows = append(rows, row{name, id[:min(12, len(id))], fmt.Sprintf("%.1f MiB", float64(img.Size)/(1<<20))})
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.id, b.id)) })
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", n.Name, r.name, r.id, r.size)
	}
	return nil
}

func newImagePull(s streams, f *imageFlags) *cobra.Command {
	return &cobra.Command{
		Use: "pull IMAGE...", Short: "Fetch images", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.each(func(n instance.Node) error {
				for _, ref := range args {
					if err := agent.Images(n.RunDir).Pull(cmd.Context(), ref, progress(s, n)); err != nil {
						return err
					}
					fmt.Fprintf(s.out, "%s: pulled %s\n", n.Name, ref)
				}
				return nil
			})
		},
	}
}

func progress(s streams, n instance.Node) func(string) {
	return func(text string) { fmt.Fprintf(s.err, "%s: %s\n", n.Name, text) }
}

func newImageImport(s streams, f *imageFlags) *cobra.Command {
	name := ""
	cmd := &cobra.Command{
		Use: "import FILE...", Short: "Take images from archives", Args: cobra.MinimumNArgs(1),
		Long: `Take images from archives, as docker save writes them, or in the form of an OCI image
layout, gzipped or not. - is standard input, for one node.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			nodes, err := f.nodes()
			if err != nil {
				return err
			}
			if slices.Contains(args, "-") && (len(nodes) > 1 || len(args) > 1) {
				return errors.New("standard input can be read once only: name one --node, or a file")
			}
			return f.each(func(n instance.Node) error {
				for _, file := range args {
					if err := importImages(cmd, s, n, file, name); err != nil {
						return fmt.Errorf("%s: %w", file, err)
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "of an image that has none in the archive")
	return cmd
}

func importImages(cmd *cobra.Command, s streams, n instance.Node, file, name string) error {
	in := io.NopCloser(cmd.InOrStdin())
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		in = f
	}
	defer in.Close()
	done, err := agent.Images(n.RunDir).Import(cmd.Context(), in, name, progress(s, n))
	for _, ref := range done {
		fmt.Fprintf(s.out, "%s: imported %s\n", n.Name, ref)
	}
	return err
}

func newImageRemove(s streams, f *imageFlags) *cobra.Command {
	return &cobra.Command{
		Use: "remove IMAGE...", Aliases: []string{"rm"}, Short: "Remove images, or names of images", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.each(func(n instance.Node) error {
				var failed []error
				for _, ref := range args {
					if err := agent.Images(n.RunDir).Remove(cmd.Context(), ref); err != nil {
						failed = append(failed, err)
						continue
					}
					fmt.Fprintf(s.out, "%s: removed %s\n", n.Name, ref)
				}
				return errors.Join(failed...)
			})
		},
	}
}
