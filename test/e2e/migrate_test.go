package e2e

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// versioned is a definition with two versions, of which one is stored.
const versioned = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.moved.example.com}
spec:
  group: moved.example.com
  scope: Namespaced
  names: {plural: things, singular: thing, kind: Thing}
  versions:
  - {name: v1, served: true, storage: %t, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
  - {name: v2, served: true, storage: %t, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`

// A StorageVersionMigration rewrites every object as it is, and the definition forgets the
// version that nothing is stored in any more, so that it may be taken out.
func TestObjectsAreMigratedToTheVersionThatIsStored(t *testing.T) {
	need(t, false, "kubus", "kubectl")
	temp := t.TempDir()
	c := &cluster{config: filepath.Join(temp, "config"), dir: filepath.Join(temp, "data")}
	background(t, "--nodes", "0", "--data-dir", c.dir, "--kubeconfig", c.config, "--listen", freeAddress(t))
	c.apply(t, fmt.Sprintf(versioned, true, false))
	c.run(t, "wait", "--for=condition=Established", "crd/things.moved.example.com", "--timeout=60s")
	const things = 300 // more than are rewritten in one request
	var manifest strings.Builder
	for i := range things {
		fmt.Fprintf(&manifest, "apiVersion: moved.example.com/v1\nkind: Thing\nmetadata: {name: t%d, namespace: default}\nspec: {number: %d}\n---\n", i, i)
	}
	c.apply(t, manifest.String())
	c.apply(t, fmt.Sprintf(versioned, false, true))
	stored := func() string {
		return c.run(t, "get", "crd", "things.moved.example.com", "-o", "jsonpath={.status.storedVersions}")
	}
	eventually(t, time.Minute, "both versions are noted", func() error {
		if got := stored(); got != `["v1","v2"]` {
			return fmt.Errorf("stored are %s", got)
		}
		return nil
	})
	last := 0 // revision of a thing before the migration
	for _, revision := range strings.Fields(c.run(t, "get", "things", "-o", "jsonpath={.items[*].metadata.resourceVersion}")) {
		n, err := strconv.Atoi(revision)
		if err != nil {
			t.Fatal(err)
		}
		last = max(last, n)
	}

	c.apply(t, `
apiVersion: storagemigration.k8s.io/v1
kind: StorageVersionMigration
metadata: {name: things}
spec: {resource: {group: moved.example.com, resource: things}}
`)
	c.run(t, "wait", "--for=condition=Succeeded", "storageversionmigration/things", "--timeout=120s")
	for _, line := range strings.Fields(c.run(t, "get", "things", "-o", `jsonpath={range .items[*]}{.metadata.resourceVersion},{.metadata.generation},{.metadata.name},{.spec.number}{"\n"}{end}`)) {
		part := strings.Split(line, ",")
		if n, err := strconv.Atoi(part[0]); err != nil || n <= last {
			t.Errorf("%s was not written since revision %d", line, last)
		}
		if part[1] != "1" || part[2] != "t"+part[3] {
			t.Errorf("%s is not as it was", line)
		}
	}
	eventually(t, time.Minute, "the definition forgets the old version", func() error {
		if got := stored(); got != `["v2"]` {
			return fmt.Errorf("stored are %s", got)
		}
		return nil
	})
}
