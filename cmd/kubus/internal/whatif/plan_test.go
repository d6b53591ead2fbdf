package whatif

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/services/scheduler"
)

// fakeAPI has two nodes and a pod, defaults the scheduler's name, and refuses images of evil.
type fakeAPI struct{ wrote []string }

func (f *fakeAPI) Do(_ context.Context, method, path string, query url.Values, body []byte) ([]byte, error) {
	if method == http.MethodPost {
		if query.Get("dryRun") != "All" {
			f.wrote = append(f.wrote, path)
		}
		if strings.Contains(string(body), "evil") {
			return nil, apierrors.NewForbidden(podGroup, "p", fmt.Errorf("evil image"))
		}
		var fields map[string]any
		if err := json.Unmarshal(body, &fields); err != nil {
			return nil, err
		}
		if spec, ok := fields["spec"].(map[string]any); ok && strings.HasSuffix(path, "/pods") {
			spec["schedulerName"] = "default-scheduler"
		}
		return json.Marshal(fields)
	}
	node := func(name string) string {
		return fmt.Sprintf(`{"metadata":{"name":%q},"status":{"allocatable":{"cpu":"2","memory":"4Gi","pods":"10"}}}`, name)
	}
	switch path {
	case "/api/v1/nodes": // in two pages
		if query.Get("continue") == "" {
			return []byte(`{"metadata":{"continue":"x"},"items":[` + node("n1") + `]}`), nil
		}
		return []byte(`{"items":[` + node("n2") + `]}`), nil
	case "/api/v1/pods":
		return []byte(`{"items":[{"metadata":{"name":"web-0","namespace":"default","uid":"u","labels":{"app":"web"}},"spec":{"nodeName":"n1","schedulerName":"default-scheduler","containers":[{"name":"c","resources":{"requests":{"cpu":"1"}}}]},"status":{"phase":"Running"}}]}`), nil
	case "/apis/storage.k8s.io/v1/csistoragecapacities":
		return nil, apierrors.NewNotFound(podGroup, "")
	}
	return []byte(`{"items":[]}`), nil
}

var podGroup = schema.GroupResource{Resource: "pods"}

const manifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: web, resources: {requests: {cpu: "1"}}}]}
---
# nothing
---
apiVersion: v1
kind: List
items:
- apiVersion: apps/v1
  kind: DaemonSet
  metadata: {name: log}
  spec:
    selector: {matchLabels: {app: log}}
    template: {metadata: {labels: {app: log}}, spec: {containers: [{name: c, image: log, resources: {requests: {cpu: 100m}}}]}}
- apiVersion: v1
  kind: Pod
  metadata: {name: bad, namespace: other}
  spec: {containers: [{name: c, image: evil}]}
- {apiVersion: v1, kind: Service, metadata: {name: web}}
---
apiVersion: v1
kind: Node
metadata: {name: n3}
status: {allocatable: {cpu: 200m, memory: 1Gi, pods: "10"}}
`

func TestPlanTellsWhatWouldBecomeOfAManifest(t *testing.T) {
	api := &fakeAPI{}
	outcomes, err := Plan(t.Context(), api, scheduler.Default(), strings.NewReader(manifest), "default")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if Print(&b, outcomes) {
		t.Error("everything would run")
	}
	want := `Deployment default/web: 3 pods, beside 1 that are there
  1 on n1
  2 on n2
DaemonSet default/log: 3 pods
  1 on n3
  2 pods would wait: 0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]. preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling.
Pod other/bad: 0 pods
  the API would refuse its pods: pods "p" is forbidden: evil image
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if len(api.wrote) > 0 {
		t.Errorf("it wrote: %v", api.wrote)
	}
}

func TestAManifestWithoutPodsIsToldSo(t *testing.T) {
	_, err := Plan(t.Context(), &fakeAPI{}, scheduler.Default(), strings.NewReader("apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"), "default")
	if err == nil || !strings.Contains(err.Error(), "no object that makes pods") {
		t.Errorf("got %v", err)
	}
}
