// Command kubus-controllers-differential plays stories to kube-controller-manager and
// to our controllers and reports how what they make of them differs.
//
//	kubus-controllers-differential -upstream BINDIR -kubus BIN/kubus [-only REGEXP] [-report FILE]
//
// It starts both clusters on loopback, with data in a folder of its own, and stops
// them. With -record, what upstream made is kept for the test that needs no upstream.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"

	"kubus.dev/test/controllers"
	"kubus.dev/test/differential"
)

type flags struct {
	upstream, kubus, listen            string
	only, report, page, record, folder string
	known, keep                        string
	seed                               uint64
	random, atOnce, port               int
}

func main() {
	var f flags
	flag.StringVar(&f.upstream, "upstream", "", "folder of etcd, kube-apiserver and kube-controller-manager")
	flag.StringVar(&f.kubus, "kubus", "bin/kubus", "the program kubus")
	flag.StringVar(&f.listen, "listen", "127.0.0.1:18443", "where kubus listens")
	flag.IntVar(&f.port, "port", 17443, "first of four ports for upstream")
	flag.StringVar(&f.only, "only", "", "play sequences whose SUITE/NAME matches this regular expression")
	flag.StringVar(&f.report, "report", "", "file for the report; empty: print it")
	flag.StringVar(&f.page, "write", "", "page whose results are replaced by the report")
	flag.StringVar(&f.record, "record", "", "file to keep what upstream made in")
	flag.StringVar(&f.keep, "keep", ".*", "of which sequences it is kept, by SUITE/NAME")
	flag.StringVar(&f.known, "known", "test/controllers/testdata/known.yaml", "what is known")
	flag.StringVar(&f.folder, "dir", "", "folder for data and logs, which is kept; empty: one that is removed")
	flag.Uint64Var(&f.seed, "seed", 1, "seed of the random sequences")
	flag.IntVar(&f.random, "random", 40, "how many random sequences")
	flag.IntVar(&f.atOnce, "at-once", 8, "how many sequences are played at a time")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	open, err := run(ctx, f)
	if err != nil {
		fmt.Fprintln(os.Stderr, "kubus-controllers-differential:", err)
		os.Exit(2)
	}
	if open > 0 {
		os.Exit(1)
	}
}

func run(ctx context.Context, f flags) (open int, err error) {
	known, err := differential.LoadKnown(f.known)
	if err != nil {
		return 0, err
	}
	o := controllers.Options{Seed: f.seed, Random: f.random}
	if f.only != "" {
		if o.Only, err = regexp.Compile(f.only); err != nil {
			return 0, err
		}
	}
	upstream, kubus, stop, err := start(ctx, f)
	if err != nil {
		return 0, err
	}
	defer stop()
	var keep *controllers.Recording
	if f.record != "" {
		chosen, err := regexp.Compile("^(" + f.keep + ")$")
		if err != nil {
			return 0, err
		}
		keep = controllers.NewRecording(f.seed, f.random, chosen)
	}
	result, err := controllers.Run(ctx, upstream, kubus, controllers.Sequences(o), known, f.atOnce, keep, func(line string) { fmt.Fprintln(os.Stderr, line) })
	if err != nil {
		return 0, err
	}
	if keep != nil {
		if err := keep.Write(f.record); err != nil {
			return 0, err
		}
	}
	fmt.Fprintf(os.Stderr, "%d steps, %d differences nobody explained\n", result.Steps, result.Open())
	if f.only == "" {
		for _, id := range known.Idle() {
			fmt.Fprintf(os.Stderr, "%s explains nothing\n", id)
		}
	}
	return result.Open(), write(result, f)
}

// start runs both clusters until stop is called.
func start(ctx context.Context, f flags) (upstream, kubus *controllers.Live, stop func(), err error) {
	dir := f.folder
	var ends []func()
	stop = func() {
		for _, end := range slices.Backward(ends) {
			end()
		}
	}
	if dir == "" {
		if dir, err = os.MkdirTemp("", "kubus-controllers-"); err != nil {
			return nil, nil, nil, err
		}
		ends = append(ends, func() { _ = os.RemoveAll(dir) }) // what is left is in the temporary folder
	}
	ctx, cancel := context.WithCancel(ctx)
	for name, begin := range map[string]func(dir string) (*controllers.Programs, error){
		"upstream": func(dir string) (*controllers.Programs, error) {
			return controllers.StartUpstream(ctx, f.upstream, dir, f.port)
		},
		"kubus": func(dir string) (*controllers.Programs, error) {
			return controllers.StartKubus(ctx, f.kubus, dir, f.listen)
		},
	} {
		own := filepath.Join(dir, name)
		if err = os.MkdirAll(own, 0o700); err != nil {
			break
		}
		var p *controllers.Programs
		if p, err = begin(own); err != nil {
			break
		}
		ends = append(ends, p.Stop)
		var l *controllers.Live
		if l, err = controllers.NewLive(ctx, p.Kubeconfig); err != nil {
			break
		}
		if name == "upstream" {
			upstream = l
		} else {
			kubus = l
		}
	}
	ends = append(ends, cancel)
	if err != nil {
		stop()
		return nil, nil, nil, err
	}
	return upstream, kubus, stop, nil
}

// The text between these in the page is replaced by the report.
const begin, end = "<!-- results: begin -->", "<!-- results: end -->"

// write puts the report where it is wanted.
func write(result *controllers.Result, f flags) error {
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
