package faults

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	binDir = flag.String("bin", "", "directory of the binaries (default: bin at the top)")
	long   = flag.Bool("long", false, "try each fault as often as docs/reliability.md says")
	dump   = flag.String("dump", "", "write a history that has a problem to this directory, as JSON")
	report = flag.String("report", "", "write what was tried, and what came of it, to this file")
)

// tries is how often a fault is tried.
func tries(short, often int) int {
	if *long {
		return often
	}
	return short
}

// program gives the path of a binary of make build, without which the test is skipped, or
// fails where CI has promised it.
func program(t testing.TB, name string) string {
	t.Helper()
	dir := *binDir
	if dir == "" {
		dir = "../../bin"
	}
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		missing(t, name+" (make build)")
	}
	return path
}

// needRoot is for what mounts.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "root")
	}
}

func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("missing: %s", what)
	}
	t.Skipf("missing: %s", what)
}

// cluster is stores and gateways.
type cluster struct {
	t        testing.TB
	stores   stores
	gateways []*gateway
	trust    *trust
}

// newCluster starts servers and gateways, and returns when all are ready.
func newCluster(t testing.TB, o storeOptions, gateways int) *cluster {
	t.Helper()
	dir := t.TempDir()
	c := &cluster{t: t, stores: startStores(t, dir, o), trust: newTrust(t, dir)}
	for i := range gateways {
		c.gateways = append(c.gateways, startGateway(t, fmt.Sprint("gateway-", i), c.trust, c.stores))
	}
	c.ready()
	return c
}

func (c *cluster) ready() {
	c.t.Helper()
	for _, g := range c.gateways {
		g.wait()
	}
}

// enough writes are acknowledged before a history ends, however slow the machine is.
const enough = 60

// during has clients work and watchers watch while fault does what it does, then waits
// until all is well, and judges what they saw.
func (c *cluster) during(l load, watchers int, fault func()) Verdict {
	c.t.Helper()
	rec := NewRecorder()
	watching, endWatch := context.WithCancel(c.t.Context())
	defer endWatch()
	var all []*watcher
	for i, g := range c.gateways {
		for n := range watchers {
			all = append(all, watch(watching, fmt.Sprintf("watcher %d of gateway %d", n, i), g))
		}
	}
	working, endWork := context.WithCancel(c.t.Context())
	defer endWork()
	var work sync.WaitGroup
	work.Go(func() { l.run(working, rec, c.gateways) })
	fault()
	eventually(c.t, 2*time.Minute, "the clients have written enough", func() error {
		if n := rec.Acknowledged(); n < enough {
			return fmt.Errorf("%d writes were acknowledged", n)
		}
		return nil
	})
	endWork()
	work.Wait()
	c.ready()

	end := c.finish(rec)
	logs := make([]WatchLog, 0, len(all))
	for _, w := range all {
		eventually(c.t, 30*time.Second, w.log.Name+" has come to the end", func() error {
			if at := w.at(); at < end.Rev {
				return fmt.Errorf("it is at %d, the end is %d", at, end.Rev)
			}
			return nil
		})
	}
	endWatch()
	for _, w := range all {
		<-w.done
		logs = append(logs, WatchLog{w.log.Name, append(w.log.Seen, Seen{Type: SeenEnd, Items: end.Items})})
	}
	v := Check(l.telling(rec.Ops()), logs)
	if len(v.Problems) > 0 && *dump != "" {
		data, err := json.Marshal(map[string]any{"operations": rec.Ops(), "watches": logs, "problems": v.Problems})
		if err == nil {
			err = os.WriteFile(filepath.Join(*dump, strings.ReplaceAll(c.t.Name(), "/", "_")+".json"), data, 0o600)
		}
		if err != nil {
			c.t.Error(err)
		}
	}
	return v
}

// client gives one more client, of the first gateway.
func (c *cluster) client(id int, rec *Recorder) *client {
	g := c.gateways[0]
	return &client{id: id, rec: rec, known: map[string]uint64{}, ways: []way{{"https://" + g.address, g.client()}}}
}

// finish writes a last object, and lists.
func (c *cluster) finish(rec *Recorder) Op {
	c.t.Helper()
	one := c.client(-1, rec)
	for n := 0; ; n++ {
		if one.do(c.t.Context(), Create, fmt.Sprintf("%send-%d-%d", prefix, time.Now().UnixNano(), n)).Outcome == OK {
			break
		}
		if n == 100 {
			c.t.Fatal("nothing can be written at the end")
		}
		time.Sleep(100 * time.Millisecond)
	}
	list := one.do(c.t.Context(), List, "")
	if list.Outcome != OK {
		c.t.Fatalf("the last list: %v", list.Outcome)
	}
	return list
}

// judge fails the test for every problem, and tells the report.
func (c *cluster) judge(row, fault string, tried int, v Verdict) {
	c.t.Helper()
	c.t.Log(v)
	for i, p := range v.Problems {
		if i == 20 {
			c.t.Errorf("… and %d more", len(v.Problems)-i)
			break
		}
		c.t.Error(p)
	}
	result := "holds"
	if c.t.Failed() {
		result = fmt.Sprintf("**%d problems**", len(v.Problems))
	}
	tell(fmt.Sprintf("| %s | %s | %d | %d | %d | %d | %d | %v | %d | %s |", row, fault, tried, v.Acknowledged, v.Unknown, v.Lists, v.Events, v.Gap.Round(10*time.Millisecond), v.Unseen.Versions, result))
}

var (
	rowsMu sync.Mutex
	rows   []string
)

// tell adds a row to the report.
func tell(row string) {
	rowsMu.Lock()
	defer rowsMu.Unlock()
	rows = append(rows, row)
}
