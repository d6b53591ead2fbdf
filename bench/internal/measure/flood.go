package measure

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"time"

	"kubus.dev/bench/internal/client"
)

// floodFor is how long another client is measured, alone and beside a flood.
const floodFor = 6 * time.Second

// flooded measures what one client's flood does to another's writes: how many times
// longer their p99 is. The two are ServiceAccounts, so of one priority level, and the
// flood is a process of its own, as it would be.
func flooded(kind string) func(context.Context, *Env) (Result, error) {
	return func(ctx context.Context, e *Env) (Result, error) {
		ns, remove, err := e.namespace(ctx, "flood-"+kind)
		if err != nil {
			return Result{}, err
		}
		defer remove()
		polite, err := e.somebody(ctx, ns, "polite")
		if err != nil {
			return Result{}, err
		}
		greedy, err := e.somebody(ctx, ns, "greedy")
		if err != nil {
			return Result{}, err
		}
		f := floods[kind]
		if f.prepare != nil {
			if err := f.prepare(ctx, e, ns); err != nil {
				return Result{}, err
			}
		}
		write := f.beside
		if write == nil {
			write = configMapWrites
		}
		c := e.Config.WithToken(polite).New()
		defer c.Close()
		if _, err := writesFor(ctx, c, ns, write, "warm", floodFor/4); err != nil {
			return Result{}, err
		}
		alone, err := writesFor(ctx, c, ns, write, "alone", floodFor)
		if err != nil {
			return Result{}, err
		}
		before, err := e.resident(ctx)
		if err != nil {
			return Result{}, err
		}
		child, err := startFlood(ctx, e, greedy, kind, ns)
		if err != nil {
			return Result{}, err
		}
		if _, err = writesFor(ctx, c, ns, write, "begin", floodFor/2); err != nil {
			return Result{}, child.stop(err)
		}
		beside, err := writesFor(ctx, c, ns, write, "beside", floodFor)
		if err != nil {
			return Result{}, child.stop(err)
		}
		after, err := e.resident(ctx)
		if err := child.stop(err); err != nil {
			return Result{}, err
		}
		a, b := percentiles(alone), percentiles(beside)
		return Result{Value: b["p99_ms"] / a["p99_ms"], More: map[string]float64{
			"alone_p50_ms": a["p50_ms"], "alone_p99_ms": a["p99_ms"], "beside_p50_ms": b["p50_ms"], "beside_p99_ms": b["p99_ms"],
			"beside_per_s": float64(len(beside)) / floodFor.Seconds(), "served": float64(child.Served), "refused": float64(child.Refused),
			"memory_before_mib": before, "memory_beside_mib": after,
		}}, nil
	}
}

// writesFor writes one object after another for so long.
func writesFor(ctx context.Context, c *client.Client, ns string, write func(context.Context, *client.Client, string, string, int) error, prefix string, long time.Duration) ([]time.Duration, error) {
	var took []time.Duration
	for i, end := 0, time.Now().Add(long); time.Now().Before(end); i++ {
		began := time.Now()
		if err := write(ctx, c, ns, prefix, i); err != nil {
			return nil, fmt.Errorf("the other client: %w", err)
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}

// somebody makes a ServiceAccount that may do everything, and gives its token.
func (e *Env) somebody(ctx context.Context, ns, name string) (string, error) {
	path := "/api/v1/namespaces/" + ns + "/serviceaccounts"
	if _, err := e.admin.Do(ctx, http.MethodPost, path, object("v1", "ServiceAccount", ns, name)); err != nil {
		return "", err
	}
	binding := object("rbac.authorization.k8s.io/v1", "RoleBinding", ns, name)
	binding["roleRef"] = fields{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"}
	binding["subjects"] = []fields{{"kind": "ServiceAccount", "name": name, "namespace": ns}}
	if _, err := e.admin.Do(ctx, http.MethodPost, "/apis/rbac.authorization.k8s.io/v1/namespaces/"+ns+"/rolebindings", binding); err != nil {
		return "", err
	}
	request := object("authentication.k8s.io/v1", "TokenRequest", "", "")
	request["spec"] = fields{"expirationSeconds": 3600}
	data, err := e.admin.Do(ctx, http.MethodPost, path+"/"+name+"/token", request)
	if err != nil {
		return "", err
	}
	var answer struct {
		Status struct {
			Token string `json:"token"`
		} `json:"status"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	c := e.Config.WithToken(answer.Status.Token).New()
	defer c.Close()
	// Upstream's rules know of a new binding a moment later.
	return answer.Status.Token, e.until(ctx, time.Minute, func() (bool, error) {
		_, err := c.Do(ctx, http.MethodGet, "/api/v1/namespaces/"+ns+"/configmaps?limit=1", nil)
		return err == nil, nil
	})
}

// flooding is the process that floods.
type flooding struct {
	command *exec.Cmd
	stdin   io.Closer
	stdout  io.Reader
	FloodResult
}

// FloodResult is what became of a flood's requests.
type FloodResult struct{ Served, Refused int64 }

func startFlood(ctx context.Context, e *Env, token, kind, ns string) (*flooding, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	f := &flooding{command: exec.CommandContext(ctx, self, "flood", "-kubeconfig", e.Config.File, "-kind", kind, "-namespace", ns, "-scale", fmt.Sprint(e.Scale))}
	f.command.Env = append(slices.Clone(os.Environ()), FloodToken+"="+token)
	f.command.Stderr = os.Stderr
	if f.stdin, err = f.command.StdinPipe(); err != nil {
		return nil, err
	}
	if f.stdout, err = f.command.StdoutPipe(); err != nil {
		return nil, err
	}
	return f, f.command.Start()
}

// stop ends the flood; err is what had happened before.
func (f *flooding) stop(err error) error {
	_ = f.stdin.Close() // which ends it
	unread := json.NewDecoder(f.stdout).Decode(&f.FloodResult)
	ended := f.command.Wait()
	for _, e := range []error{err, unread, ended} {
		if e != nil {
			return fmt.Errorf("beside the flood: %w", e)
		}
	}
	return nil
}
