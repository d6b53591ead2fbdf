package e2e

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// rolled is how many pods are rolled: as many as a small machine's runc starts in a
// few minutes. `make roll` rolls 200.
var rolled = flag.Int("rolled", 60, "how many pods are rolled while the controllers are killed")

// Whoever rolls a Deployment out may die at any moment of it.
func TestTheControllersAreKilledDuringARoll(t *testing.T) {
	need(t, true, append(nodePrograms, "nats-server", "kubus-gateway", "kubus-agent", "kubus-controllers")...)
	settings := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(settings, fmt.Appendf(nil, "agent:\n  maxPods: %d\n", *rolled+50), 0o600); err != nil {
		t.Fatal(err)
	}
	j := &job{cluster: newCluster(t, "e2e-roll", "services", "--settings", settings)}
	if out, err := j.makeUp(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	j.run(t, "wait", "--for=condition=Ready", "node/"+j.node, "--timeout=60s")
	j.apply(t, fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: %d
  selector: {matchLabels: {app: web}}
  strategy: {rollingUpdate: {maxSurge: 6, maxUnavailable: 6}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 10
      containers:
      - name: web
        image: %s/web:v1
        readinessProbe: {httpGet: {path: /readyz, port: 8080}, periodSeconds: 2}
`, *rolled, images.Address))
	j.run(t, "rollout", "status", "deployment/web", "--timeout=600s")

	c := j.client(t, 4)
	j.run(t, "set", "image", "deployment/web", "web="+images.Address+"/web:v2")
	for n := 1; n <= 3; n++ {
		eventually(t, 5*time.Minute, fmt.Sprintf("%d of 4 parts are rolled", n), func() error {
			if updated := j.number(t, ".status.updatedReplicas"); updated < n**rolled/4 {
				return fmt.Errorf("%d are updated", updated)
			}
			return nil
		})
		j.killOne(t, "controllers")
		if available := j.number(t, ".status.availableReplicas"); available < *rolled-6 {
			t.Errorf("%d pods are available after the controllers were killed, at least %d must be", available, *rolled-6)
		}
	}
	j.run(t, "rollout", "status", "deployment/web", "--timeout=600s")
	c.end(t)

	eventually(t, time.Minute, "only new pods are there, as many as wished", func() error {
		pods, err := j.cluster.pods("app=web", ".spec.containers[0].image")
		if err == nil && (len(pods) != *rolled || count(pods, images.Address+"/web:v2") != *rolled) {
			err = fmt.Errorf("there are %v", pods)
		}
		return err
	})
}

// number is a field of the Deployment; absent it is 0.
func (j *job) number(t *testing.T, field string) int {
	t.Helper()
	n, err := strconv.Atoi("0" + j.get(t, "deployment/web", field))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
