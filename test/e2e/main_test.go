// Package e2e is the acceptance list: what a user does with a cluster, with the
// real kubectl, real containers, rules and a registry, in both forms. Every step
// is a subtest named as a sentence; later steps build on earlier ones.
//
// It needs root and the binaries of `make build`. Where CI has promised them (CI=true)
// it fails without them; elsewhere it skips.
package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"kubus.dev/test/registry"
)

var (
	binDir    = flag.String("bin", "", "directory of the binaries (default: bin at the top)")
	rotations = flag.Bool("rotations", false, "rotate every kind of key in each form on each bus")
	keep      = flag.Bool("keep", false, "leave a failed cluster running, to look at it")

	images *registry.Registry
	web    string // the program of the web image
	top    string
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if top, err = filepath.Abs("../.."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if *binDir == "" {
		*binDir = filepath.Join(top, "bin")
	}
	dir, err := os.MkdirTemp("", "kubus-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	web = filepath.Join(dir, "web")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", web, "../images/web")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the web image's program: %v\n%s", err, out)
		return 1
	}
	if images, err = registry.Start("127.0.0.1:0", web); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer images.Close()
	return m.Run()
}

// promised tells whether CI has promised root and every tool.
func promised() bool { return os.Getenv("CI") == "true" }

// need skips the test without what it needs, or fails it where that was promised.
func need(t *testing.T, root bool, programs ...string) {
	t.Helper()
	missing := ""
	if root && os.Geteuid() != 0 {
		missing = "root"
	}
	for _, p := range programs {
		if _, err := os.Stat(filepath.Join(*binDir, p)); err != nil {
			missing = p + " (make build)"
		}
	}
	switch {
	case missing == "":
	case promised():
		t.Fatalf("missing: %s", missing)
	default:
		t.Skipf("missing: %s", missing)
	}
}
