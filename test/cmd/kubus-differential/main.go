// Command kubus-differential asks kube-apiserver and a gateway the same and reports
// how their answers differ.
//
//	kubus-differential -upstream KUBECONFIG -kubus KUBECONFIG [-only REGEXP] [-report FILE]
//
// Both must be fresh (or -prefix new): no controllers, no objects but their own.
// With -record, what upstream says is kept for the test that needs no upstream.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"

	"kubus.dev/test/differential"
)

type flags struct {
	upstream, kubus                              string
	only, report, page, record, testdata, prefix string
	seed                                         uint64
	samples, atOnce                              int
}

func main() {
	var f flags
	flag.StringVar(&f.upstream, "upstream", "", "kubeconfig of kube-apiserver's administrator")
	flag.StringVar(&f.kubus, "kubus", "", "kubeconfig of the gateway's administrator")
	flag.StringVar(&f.only, "only", "", "play scenarios whose name matches this regular expression")
	flag.StringVar(&f.report, "report", "", "file for the report; empty: print it")
	flag.StringVar(&f.page, "write", "", "page whose results are replaced by the report")
	flag.StringVar(&f.record, "record", "", "file to keep upstream's answers in")
	flag.StringVar(&f.testdata, "testdata", "test/differential/testdata", "folder of bodies.yaml and known.yaml")
	flag.StringVar(&f.prefix, "prefix", "d", "what all names begin with")
	flag.Uint64Var(&f.seed, "seed", 1, "seed of the random variations")
	flag.IntVar(&f.samples, "samples", 150, "random variations of each kind; 0: none")
	flag.IntVar(&f.atOnce, "at-once", 4, "how many scenarios are played at a time")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	open, err := run(ctx, f)
	if err != nil {
		fmt.Fprintln(os.Stderr, "kubus-differential:", err)
		os.Exit(2)
	}
	if open > 0 {
		os.Exit(1)
	}
}

func run(ctx context.Context, f flags) (open int, err error) {
	upstream, err := differential.Connect(f.upstream)
	if err != nil {
		return 0, err
	}
	kubus, err := differential.Connect(f.kubus)
	if err != nil {
		return 0, err
	}
	known, err := differential.LoadKnown(f.testdata + "/known.yaml")
	if err != nil {
		return 0, err
	}
	kinds, lacking, err := differential.CommonKinds(ctx, upstream, kubus, f.testdata+"/bodies.yaml")
	if err != nil {
		return 0, err
	}
	o := differential.Options{Prefix: f.prefix, Seed: f.seed, Samples: f.samples}
	if f.only != "" {
		if o.Only, err = regexp.Compile(f.only); err != nil {
			return 0, err
		}
	}
	if f.samples > 0 {
		if o.Schemas, err = differential.LoadSchemas(ctx, upstream, kinds); err != nil {
			return 0, err
		}
	}
	var asked differential.Side = upstream
	recording := differential.NewRecording(kinds)
	if f.record != "" {
		asked = differential.Recorder{Side: upstream, To: recording}
	}
	result, err := differential.Run(ctx, asked, kubus, differential.Suites(kinds, o), known, f.atOnce)
	if err != nil {
		return 0, err
	}
	if f.record != "" {
		if err := recording.Write(f.record); err != nil {
			return 0, err
		}
	}
	result.Lacking = lacking
	fmt.Fprintf(os.Stderr, "%d requests, %d differences nobody explained\n", result.Steps, result.Open())
	if f.only == "" {
		for _, id := range known.Idle() {
			fmt.Fprintf(os.Stderr, "%s explains nothing\n", id)
		}
	}
	return result.Open(), write(result, f)
}

// The text between these in the page is replaced by the report.
const begin, end = "<!-- results: begin -->", "<!-- results: end -->"

// write puts the report where it is wanted.
func write(result *differential.Result, f flags) error {
	var report bytes.Buffer
	if err := result.Report(&report); err != nil {
		return err
	}
	if f.report == "" && f.page == "" {
		_, err := os.Stdout.Write(report.Bytes())
		return err
	}
	if f.report != "" {
		if err := os.WriteFile(f.report, report.Bytes(), 0o644); err != nil {
			return err
		}
	}
	if f.page == "" {
		return nil
	}
	page, err := os.ReadFile(f.page)
	if err != nil {
		return err
	}
	i, j := bytes.Index(page, []byte(begin)), bytes.Index(page, []byte(end))
	if i < 0 || j < i {
		return fmt.Errorf("%s: no markers %q and %q", f.page, begin, end)
	}
	return os.WriteFile(f.page, slices.Concat(page[:i+len(begin)], []byte("\n"), report.Bytes(), page[j:]), 0o644)
}
