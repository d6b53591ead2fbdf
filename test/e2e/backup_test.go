package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A backup that is made while objects are created is of one moment: of what one client
// created one after the other it has the first ones, and none is missing among them. The
// cluster that is made of it gives out no resourceVersion again.
func TestAClusterComesBackFromABackup(t *testing.T) {
	need(t, false, "kubus", "kubectl")
	kubus := filepath.Join(*binDir, "kubus")
	temp := t.TempDir()
	first := &cluster{config: filepath.Join(temp, "first"), dir: filepath.Join(temp, "a")}
	background(t, "--nodes", "0", "--data-dir", first.dir, "--kubeconfig", first.config, "--listen", freeAddress(t))
	first.run(t, "create", "secret", "generic", "s", "--from-literal=password=tell-nobody")
	first.run(t, "create", "namespace", "many")

	const objects = 400
	var manifest strings.Builder
	for i := range objects {
		fmt.Fprintf(&manifest, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d, namespace: many}\n---\n", i)
	}
	file := filepath.Join(temp, "many.yaml")
	if err := os.WriteFile(file, []byte(manifest.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	created := make(chan error, 1)
	go func() {
		_, err := first.try("create", "-f", file)
		created <- err
	}()
	eventually(t, time.Minute, "some objects", func() error {
		_, err := first.try("get", "configmap", "-n", "many", "c20")
		return err
	})
	backup := filepath.Join(temp, "kubus.backup")
	out, err := command(time.Minute, kubus, "backup", backup, "--data-dir", first.dir)
	if err != nil || !strings.Contains(out, "objects in") {
		t.Fatalf("got %v, %s", err, out)
	}
	t.Log(strings.TrimSpace(out))
	if info, err := os.Stat(backup); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info.Mode(), err)
	}
	if err := <-created; err != nil {
		t.Fatal(err)
	}
	last, err := strconv.Atoi(first.run(t, "get", "configmap", "c399", "-n", "many", "-o", "jsonpath={.metadata.resourceVersion}"))
	if err != nil {
		t.Fatal(err)
	}

	second := &cluster{config: filepath.Join(temp, "second"), dir: filepath.Join(temp, "b")}
	listen := freeAddress(t)
	if out, err := command(time.Minute, kubus, "restore", backup, "--data-dir", second.dir, "--listen", listen); err != nil {
		t.Fatalf("got %v, %s", err, out)
	}
	background(t, "--nodes", "0", "--data-dir", second.dir, "--kubeconfig", second.config)
	names := strings.Fields(second.run(t, "get", "configmaps", "-n", "many", "-o", "name"))
	there := map[string]bool{}
	for _, name := range names {
		there[name] = true
	}
	delete(there, "configmap/kube-root-ca.crt")
	if len(there) < 21 {
		t.Errorf("%d objects are back", len(there))
	}
	for i := range len(there) {
		if !there[fmt.Sprintf("configmap/c%d", i)] {
			t.Errorf("of %d objects c%d is missing", len(there), i)
		}
	}
	if got := second.run(t, "get", "secret", "s", "-o", "jsonpath={.data.password}"); got != "dGVsbC1ub2JvZHk=" {
		t.Errorf("the Secret is %q", got)
	}
	if now, err := strconv.Atoi(second.run(t, "get", "configmap", "c0", "-n", "many", "-o", "jsonpath={.metadata.resourceVersion}")); err != nil || now <= last {
		t.Errorf("resourceVersion %d was given out again: %d, %v", last, now, err)
	}
	if out, err := second.try("get", "--raw", fmt.Sprintf("/api/v1/namespaces/many/configmaps?watch=1&resourceVersion=%d", last)); !strings.Contains(out, "too old resource version") {
		t.Errorf("a watch of the old cluster goes on: %v, %s", err, out)
	}
	// The administrator's kubeconfig of the old cluster is the new one's as well.
	again := &cluster{config: filepath.Join(temp, "moved")}
	data, err := os.ReadFile(first.config)
	if err != nil {
		t.Fatal(err)
	}
	server := first.run(t, "config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")
	if err := os.WriteFile(again.config, []byte(strings.ReplaceAll(string(data), server, "https://"+listen)), 0o600); err != nil {
		t.Fatal(err)
	}
	again.run(t, "delete", "namespace", "many")

	for what, c := range map[string]struct {
		args []string
		want string
	}{
		"where a cluster is":    {[]string{"restore", backup, "--data-dir", second.dir}, "there is a cluster in"},
		"a file of another":     {[]string{"restore", file, "--data-dir", filepath.Join(temp, "c")}, "no backup"},
		"no cluster to back up": {[]string{"backup", backup, "--data-dir", filepath.Join(temp, "c")}, "there is no cluster in"},
	} {
		if out, err := command(time.Minute, kubus, c.args...); err == nil || !strings.Contains(out, c.want) {
			t.Errorf("%s: got %v, %s", what, err, out)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(temp, "c", "*")); len(left) > 0 {
		t.Errorf("what failed left %v", left)
	}
}
