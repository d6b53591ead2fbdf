package runtime

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// Handler is a way to run containers that a RuntimeClass may name; "" is that of pods without one.
type Handler struct {
	Name              string
	RecursiveReadOnly bool // its runtime can mount so
}

// runcHandler is the name that the configured runc always has.
const runcHandler = "runc"

// featuresLimit bounds how long a runtime may take to say what it can.
const featuresLimit = 10 * time.Second

// program is a handler's OCI runtime. direct tells that it is runc, whose leftovers may be removed by hand.
func (o *Options) program(handler string) (path string, direct bool, err error) {
	if handler == "" || handler == runcHandler {
		return o.Runc, true, nil
	}
	if path = o.Handlers[handler]; path == "" {
		return "", false, fmt.Errorf("failed to get sandbox runtime: no runtime for %q is configured", handler)
	}
	return path, false, nil
}

// completeHandlers finds the programs of all handlers.
func (o *Options) completeHandlers() error {
	found := make(map[string]string, len(o.Handlers))
	var problems []error
	for name, path := range o.Handlers {
		path, err := findTool(path, name)
		if err != nil {
			problems = append(problems, fmt.Errorf("runtime handler %q: %w", name, err))
		}
		found[name] = path
	}
	o.Handlers = found
	return errors.Join(problems...)
}

// Handlers tells what pods may be run with, ordered by name.
func (n *Node) Handlers() []Handler { return slices.Clone(n.handlers) }

// describeHandlers asks every runtime once for what it can. One that does not know the question can nothing beyond what
// all can.
func describeHandlers(ctx context.Context, opts *Options) []Handler {
	own := recursiveReadOnly(ctx, opts.Runc)
	list := []Handler{{"", own}, {runcHandler, own}}
	for name, path := range opts.Handlers {
		list = append(list, Handler{name, recursiveReadOnly(ctx, path)})
	}
	slices.SortFunc(list, func(a, b Handler) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// recursiveReadOnly reads the answer to the OCI runtimes' command "features".
func recursiveReadOnly(ctx context.Context, path string) bool {
	ctx, cancel := context.WithTimeout(ctx, featuresLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "features").Output()
	if err != nil {
		return false
	}
	var f features.Features
	return json.NewDecoder(strings.NewReader(string(out))).Decode(&f) == nil && slices.Contains(f.MountOptions, "rro")
}
