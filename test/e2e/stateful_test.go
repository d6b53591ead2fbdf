package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kubus.dev/test/registry"
)

// A database as a StatefulSet on an ordinary cluster: each of its pods has a volume of
// its own, and finds it again whatever happens to it.
func TestADatabaseIsAStatefulSet(t *testing.T) {
	need(t, true, nodePrograms...)
	if err := images.PushPostgres(); errors.Is(err, registry.ErrNoPostgres) && !promised() {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	d := &database{cluster: newCluster(t, "e2e-stateful", "allinone")}
	step := func(name string, f func(t *testing.T)) {
		if !t.Run(name, f) {
			t.FailNow() // what follows builds on it
		}
	}
	step("its claim is made and bound, and it starts", func(t *testing.T) {
		if out, err := d.makeUp(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		d.apply(t, d.set(1, "1"))
		d.run(t, "rollout", "status", "statefulset/db", "--timeout=180s")
		d.run(t, "wait", "--for=jsonpath={.status.phase}=Bound", "pvc/data-db-0", "--timeout=20s")
		d.sql(t, "db-0", "create table t (v text); insert into t values ('kept')")
	})
	step("killed in the middle of its work, it comes back with its data", func(t *testing.T) {
		d.killed(t, "db-0")
		d.kept(t, "db-0")
	})
	step("deleted, it comes back under its name with its data", func(t *testing.T) {
		before := d.get(t, "pod/db-0", ".metadata.uid")
		d.run(t, "delete", "pod", "db-0", "--timeout=60s")
		d.kept(t, "db-0")
		if after := d.get(t, "pod/db-0", ".metadata.uid"); after == before {
			t.Error("it is the same pod")
		}
	})
	step("while its node takes no pods it waits for it: its data is there and nowhere else", func(t *testing.T) {
		d.run(t, "cordon", d.node)
		d.run(t, "delete", "pod", "db-0", "--timeout=60s")
		d.eventually(t, "the pod waits", func() bool {
			out, err := d.try("get", "pod", "db-0", "-o", "jsonpath={.status.conditions[?(@.type=='PodScheduled')].reason}")
			return err == nil && out == "Unschedulable"
		})
		d.run(t, "uncordon", d.node)
		d.kept(t, "db-0")
	})
	step("scaled up, each has its own data", func(t *testing.T) {
		d.run(t, "scale", "statefulset", "db", "--replicas=3")
		d.run(t, "rollout", "status", "statefulset/db", "--timeout=240s")
		for _, pod := range []string{"db-1", "db-2"} {
			d.sql(t, pod, "create table own (v text); insert into own values ('"+pod+"')")
			if out, err := d.try("exec", pod, "--", "psql", "-Atc", "select v from t"); err == nil {
				t.Errorf("%s sees the first's table: %s", pod, out)
			}
		}
		if n := len(d.folders(t)); n != 3 {
			t.Errorf("%d volumes on the node", n)
		}
	})
	step("scaled down and up again, the last finds its data", func(t *testing.T) {
		d.run(t, "scale", "statefulset", "db", "--replicas=1")
		d.run(t, "wait", "--for=delete", "pod/db-2", "pod/db-1", "--timeout=120s")
		d.run(t, "get", "pvc", "data-db-1", "data-db-2")
		d.run(t, "scale", "statefulset", "db", "--replicas=3")
		d.run(t, "rollout", "status", "statefulset/db", "--timeout=240s")
		for _, pod := range []string{"db-1", "db-2"} {
			if got := d.sql(t, pod, "select v from own"); got != pod {
				t.Errorf("%s has %q", pod, got)
			}
		}
	})
	step("a rolling update goes from the last to the first, and all keep their data", func(t *testing.T) {
		made := d.created(t, "app=db", 3)
		d.apply(t, d.set(3, "2"))
		d.run(t, "rollout", "status", "statefulset/db", "--timeout=300s")
		d.kept(t, "db-0")
		if got := d.sql(t, "db-2", "select v from own"); got != "db-2" {
			t.Errorf("the last has %q", got)
		}
		if order := made(); order != "db-2 db-1 db-0" {
			t.Errorf("they were made in the order %s", order)
		}
	})
	step("deleted and applied again, the set finds its data", func(t *testing.T) {
		d.run(t, "delete", "statefulset", "db", "--timeout=60s")
		d.run(t, "wait", "--for=delete", "pod/db-0", "pod/db-1", "pod/db-2", "--timeout=120s")
		d.apply(t, d.set(1, "2"))
		d.kept(t, "db-0")
	})
}

// created follows the pods of a label, of which there are n; what it returns tells in which order others were made since.
func (d *database) created(t *testing.T, selector string, n int) func() string {
	t.Helper()
	_, out := d.start(t, "get", "pods", "-l", selector, "--watch", "--output-watch-events", "-o", "jsonpath={.type} {.object.metadata.name}{\"\\n\"}")
	added := func() (names []string) {
		for line := range strings.Lines(out.String()) {
			if name, is := strings.CutPrefix(strings.TrimSpace(line), "ADDED "); is {
				names = append(names, name)
			}
		}
		return names
	}
	eventually(t, 30*time.Second, "kubectl follows the pods", func() error {
		if got := added(); len(got) < n {
			return fmt.Errorf("it has seen %q", got)
		}
		return nil
	})
	return func() string { return strings.Join(added()[n:], " ") }
}

// set is PostgreSQL in a StatefulSet.
func (d *database) set(replicas int, version string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 5432}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: %d
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}, annotations: {version: %q}}
    spec:
      terminationGracePeriodSeconds: 20
      securityContext: {runAsUser: 999, runAsGroup: 999, fsGroup: 999, fsGroupChangePolicy: OnRootMismatch}
      containers:
      - name: db
        image: %s/postgres:debian
        command: [sh, -c, "[ -s /data/pg/PG_VERSION ] || initdb -A trust -U postgres --locale=C -D /data/pg; exec postgres -D /data/pg -k /tmp"]
        readinessProbe: {exec: {command: [pg_isready, -q]}, periodSeconds: 1}
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`, replicas, version, images.Address)
}

// killed kills all of a pod's processes, as a lack of memory would, and waits until its
// container was started again.
func (d *database) killed(t *testing.T, pod string) {
	t.Helper()
	uid := d.get(t, "pod/"+pod, ".metadata.uid")
	restarts := d.get(t, "pod/"+pod, ".status.containerStatuses[0].restartCount")
	killed := 0
	d.eventually(t, "the server's processes", func() bool {
		groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range groups {
			group, _ := os.ReadFile(file) // it may have ended meanwhile
			name, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "comm"))
			if !of(string(group), uid) || strings.TrimSpace(string(name)) != "postgres" {
				continue
			}
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil {
				killed++
			}
		}
		return killed > 0
	})
	eventually(t, time.Minute, "a restart", func() error {
		if now := d.get(t, "pod/"+pod, ".status.containerStatuses[0].restartCount"); now == restarts {
			return fmt.Errorf("%s restarts", now)
		}
		return nil
	})
}

// of tells whether a control group is of a pod; drivers write the UID in two ways.
func of(group, uid string) bool {
	return strings.Contains(group, uid) || strings.Contains(group, strings.ReplaceAll(uid, "-", "_"))
}
