package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubus.dev/test/registry"
)

// A database in a cluster that nobody has prepared for it: its claim gets a volume by the
// default class, and its data outlives processes, pods and the claim's use, until the claim goes.
func TestADatabaseKeepsItsData(t *testing.T) {
	need(t, true, nodePrograms...)
	if err := images.PushPostgres(); errors.Is(err, registry.ErrNoPostgres) && !promised() {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	d := &database{cluster: newCluster(t, "e2e-storage", "allinone")}
	step := func(name string, f func(t *testing.T)) {
		if !t.Run(name, f) {
			t.FailNow() // what follows builds on it
		}
	}
	step("a new cluster has a default class", func(t *testing.T) {
		if out, err := d.makeUp(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if out := d.run(t, "get", "storageclass", "local", "-o", "jsonpath={.provisioner} {.volumeBindingMode} {.metadata.annotations.storageclass\\.kubernetes\\.io/is-default-class}"); out != "kubus.dev/local WaitForFirstConsumer true" {
			t.Error(out)
		}
	})
	step("a claim waits for its first consumer, and says so", func(t *testing.T) {
		d.apply(t, claimManifest("data-db-0", "", "1Gi"))
		d.eventually(t, "an event of the claim", func() bool {
			return strings.Contains(d.run(t, "get", "events", "--field-selector", "involvedObject.name=data-db-0", "-o", "jsonpath={.items[*].message}"), "waiting for first consumer to be created before binding")
		})
	})
	step("the claim is bound in under a second after its pod is there, and the database starts", func(t *testing.T) {
		_, phases := d.start(t, "get", "pvc", "data-db-0", "--watch", "-o", "jsonpath={.status.phase}{'\\n'}")
		d.eventually(t, "the watch", func() bool { return strings.Contains(phases.String(), "Pending") })
		d.apply(t, d.manifest("db-0"))
		began := time.Now()
		d.eventually(t, "the binding", func() bool { return strings.Contains(phases.String(), "Bound") })
		if took := time.Since(began); took > time.Second {
			t.Errorf("bound after %v", took)
		}
		d.run(t, "wait", "--for=condition=Ready", "pod/db-0", "--timeout=120s")
		d.sql(t, "db-0", "create table t (v text); insert into t values ('kept')")
	})
	step("a server that ends in the middle of its work comes back with its data", func(t *testing.T) {
		// Its immediate shutdown is as good as a crash: nothing is written, the next start recovers.
		_, _ = d.try("exec", "db-0", "--", "sh", "-c", "kill -QUIT 1")
		d.eventually(t, "a restart", func() bool {
			return d.run(t, "get", "pod", "db-0", "-o", "jsonpath={.status.containerStatuses[0].restartCount}") != "0"
		})
		d.kept(t, "db-0")
	})
	step("a pod that is deleted and made again finds its data", func(t *testing.T) {
		d.run(t, "delete", "pod", "db-0", "--timeout=60s")
		d.apply(t, d.manifest("db-0"))
		d.kept(t, "db-0")
	})
	step("a second one has a volume of its own", func(t *testing.T) {
		d.apply(t, claimManifest("data-db-1", "", "1Gi"))
		d.apply(t, d.manifest("db-1"))
		d.run(t, "wait", "--for=condition=Ready", "pod/db-1", "--timeout=120s")
		if out, err := d.try("exec", "db-1", "--", "psql", "-Atc", "select v from t"); err == nil {
			t.Errorf("the second sees the first's table: %s", out)
		}
		if n := len(d.folders(t)); n != 2 {
			t.Errorf("%d volumes on the node", n)
		}
	})
	step("a volume grows with its claim, at once", func(t *testing.T) {
		d.run(t, "patch", "pvc", "data-db-0", "-p", `{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}`)
		d.run(t, "wait", "--for=jsonpath={.status.capacity.storage}=2Gi", "pvc/data-db-0", "--timeout=20s")
		if out, err := d.try("patch", "pvc", "data-db-0", "-p", `{"spec":{"resources":{"requests":{"storage":"500Mi"}}}}`); err == nil {
			t.Errorf("the claim shrank: %s", out)
		}
	})
	step("more than the disk holds is refused, and the claim says why", func(t *testing.T) {
		d.apply(t, claimManifest("huge", "", "900Ti"))
		d.apply(t, podManifest("huge", "huge", images.Address+"/busybox:1", "sleep 3600"))
		d.eventually(t, "the reason", func() bool {
			out := d.run(t, "get", "events", "--field-selector", "involvedObject.name=huge,reason=ProvisioningFailed", "-o", "jsonpath={.items[*].message}")
			return strings.Contains(out, `Failed to provision volume with StorageClass "local"`) && strings.Contains(out, "are asked for")
		})
		d.run(t, "delete", "pod/huge", "pvc/huge", "--grace-period=0", "--timeout=60s")
	})
	step("a claim in use is not deleted before its pod, and its folder goes with it", func(t *testing.T) {
		d.run(t, "delete", "pvc", "data-db-1", "--wait=false")
		d.sql(t, "db-1", "select 1")
		volume := d.run(t, "get", "pvc", "data-db-1", "-o", "jsonpath={.spec.volumeName}")
		d.run(t, "delete", "pod", "db-1", "--timeout=60s")
		d.run(t, "wait", "--for=delete", "pvc/data-db-1", "--timeout=30s")
		d.run(t, "wait", "--for=delete", "pv/"+volume, "--timeout=30s")
		for _, folder := range d.folders(t) {
			if filepath.Base(folder) == volume {
				t.Errorf("%s is still there", folder)
			}
		}
	})
	step("what is to be retained stays", func(t *testing.T) {
		d.apply(t, `{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: kept}, provisioner: kubus.dev/local, reclaimPolicy: Retain, volumeBindingMode: WaitForFirstConsumer}`)
		d.apply(t, claimManifest("retained", "kept", "1Mi"))
		d.apply(t, podManifest("writer", "retained", images.Address+"/busybox:1", "echo kept > /data/f; sleep 3600"))
		d.run(t, "wait", "--for=condition=Ready", "pod/writer", "--timeout=60s")
		volume := d.run(t, "get", "pvc", "retained", "-o", "jsonpath={.spec.volumeName}")
		d.run(t, "delete", "pod/writer", "pvc/retained", "--grace-period=1", "--timeout=60s")
		d.run(t, "wait", "--for=jsonpath={.status.phase}=Released", "pv/"+volume, "--timeout=20s")
		path := d.run(t, "get", "pv", volume, "-o", "jsonpath={.spec.local.path}")
		if data, err := os.ReadFile(filepath.Join(path, "f")); string(data) != "kept\n" {
			t.Errorf("%q, %v", data, err)
		}
	})
	step("an ephemeral volume lives as long as its pod", func(t *testing.T) {
		d.apply(t, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: scratch}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: %s/busybox:1, command: [sh, -c, "echo x > /data/f; sleep 3600"], volumeMounts: [{name: v, mountPath: /data}]}
  volumes:
  - name: v
    ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}}
`, images.Address))
		d.run(t, "wait", "--for=condition=Ready", "pod/scratch", "--timeout=60s")
		volume := d.run(t, "get", "pvc", "scratch-v", "-o", "jsonpath={.spec.volumeName}")
		d.run(t, "delete", "pod/scratch", "--timeout=60s")
		d.run(t, "wait", "--for=delete", "pvc/scratch-v", "pv/"+volume, "--timeout=30s")
	})
	step("pods that write more than their own limits allow are evicted, and say by which", d.limits)
	step("the data outlives down and up", func(t *testing.T) {
		if out, err := d.kubus("down"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if out, err := d.makeUp(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		d.kept(t, "db-0")
	})
}

type database struct{ *cluster }

// limits has three pods that write 8 MiB each, above the limit of a volume, of a container and of a whole pod, and one that stays below all of them.
func (d *database) limits(t *testing.T) {
	const pod = `
---
apiVersion: v1
kind: Pod
metadata: {name: %[1]s}
spec:
  terminationGracePeriodSeconds: 1
  restartPolicy: Never
  containers:
  - {name: c, image: %[2]s/busybox:1, command: [sh, -c, "dd if=/dev/zero of=%[3]s/f bs=1M count=8; sleep 3600"], resources: {limits: {%[4]s}}, volumeMounts: [{name: v, mountPath: /data}]}
  - {name: d, image: %[2]s/busybox:1, command: [sleep, "3600"], resources: {limits: {%[4]s}}}
  volumes: [{name: v, emptyDir: {%[5]s}}]
`
	d.apply(t, fmt.Sprintf(pod, "volume", images.Address, "/data", "", "sizeLimit: 4Mi")+
		fmt.Sprintf(pod, "container", images.Address, "", "ephemeral-storage: 6Mi", "")+
		fmt.Sprintf(pod, "whole", images.Address, "/data", "ephemeral-storage: 3Mi", "")+
		fmt.Sprintf(pod, "modest", images.Address, "/data", "ephemeral-storage: 16Mi", "sizeLimit: 16Mi"))
	for name, want := range map[string]string{
		"volume":    `Usage of EmptyDir volume "v" exceeds the limit "4Mi". `,
		"container": `Container c exceeded its local ephemeral storage limit "6Mi". `,
		"whole":     "Pod ephemeral local storage usage exceeds the total limit of containers 6Mi. ",
	} {
		d.run(t, "wait", "--for=jsonpath={.status.phase}=Failed", "pod/"+name, "--timeout=60s")
		if out := d.run(t, "get", "pod", name, "-o", "jsonpath={.status.reason}: {.status.message}{.status.conditions[?(@.type=='DisruptionTarget')].reason}"); out != "Evicted: "+want {
			t.Errorf("%s: %q", name, out)
		}
	}
	if out := d.run(t, "get", "pod", "modest", "-o", "jsonpath={.status.phase}"); out != "Running" {
		t.Errorf("the one within its limits is %s", out)
	}
	d.run(t, "delete", "pod/volume", "pod/container", "pod/whole", "pod/modest", "--timeout=60s")
}

func claimManifest(name, class, size string) string {
	if class != "" {
		class = "storageClassName: " + class + ", "
	}
	return fmt.Sprintf(`{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: %s}, spec: {%saccessModes: [ReadWriteOnce], resources: {requests: {storage: %s}}}}`, name, class, size)
}

func podManifest(name, claim, image, script string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: %s, command: [sh, -c, %q], volumeMounts: [{name: data, mountPath: /data}]}
  volumes: [{name: data, persistentVolumeClaim: {claimName: %s}}]
`, name, image, script, claim)
}

// manifest is a pod with PostgreSQL on its claim, which it fills when that is empty.
func (d *database) manifest(name string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {app: db}}
spec:
  terminationGracePeriodSeconds: 20
  securityContext: {runAsUser: 999, runAsGroup: 999, fsGroup: 999, fsGroupChangePolicy: OnRootMismatch}
  containers:
  - name: db
    image: %s/postgres:debian
    command: [sh, -c, "[ -s /data/pg/PG_VERSION ] || initdb -A trust -U postgres --locale=C -D /data/pg; exec postgres -D /data/pg -k /tmp"]
    readinessProbe: {exec: {command: [pg_isready, -q]}, periodSeconds: 1}
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data-%s}}]
`, name, images.Address, name)
}

func (d *database) sql(t *testing.T, pod, statement string) string {
	t.Helper()
	return strings.TrimSpace(d.run(t, "exec", pod, "--", "psql", "-v", "ON_ERROR_STOP=1", "-Atc", statement))
}

func (d *database) eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	eventually(t, time.Minute, what, func() error {
		if !ok() {
			return errors.New("not yet")
		}
		return nil
	})
}

// kept waits for the pod and asks for what was written first.
func (d *database) kept(t *testing.T, pod string) {
	t.Helper()
	d.eventually(t, "the data of "+pod, func() bool {
		out, err := d.try("exec", pod, "--", "psql", "-Atc", "select v from t")
		return err == nil && strings.TrimSpace(out) == "kept"
	})
}

// folders are the volumes on the node.
func (d *database) folders(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(d.dir, "*", "volumes", "pvc-*"))
	if err != nil {
		t.Fatal(err)
	}
	deeper, err := filepath.Glob(filepath.Join(d.dir, "*", "*", "volumes", "pvc-*"))
	if err != nil {
		t.Fatal(err)
	}
	return append(found, deeper...)
}
