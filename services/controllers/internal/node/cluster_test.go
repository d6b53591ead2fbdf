package node

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

// api keeps nodes and pods in the mirrors of its world, and notes what is written.
type api struct {
	world *mirror.World

	mu       sync.Mutex
	revision uint64
	written  []string // METHOD path
	bodies   []string
	events   []string // reason: message
}

func newAPI() *api {
	a := &api{world: mirror.NewWorld()}
	a.world.Nodes.Follow()
	a.world.Pods.Follow()
	return a
}

func (a *api) env(t *testing.T, ctx context.Context) *frame.Env {
	t.Helper()
	e := frame.NewEnv("node", "node-controller", a.world, write.New(a, nil), &frame.Settings{
		PodCIDR: "10.0.0.0/23", NodeMaskSize: 24, NodeMaskSizeIPv6: 64, NodeGracePeriod: grace, NodeStartGracePeriod: startup,
		NodeEvictionRate: usual.Rate, SecondaryNodeEvictionRate: usual.Secondary, UnhealthyZoneThreshold: usual.Unhealthy, LargeClusterSizeThreshold: usual.Large,
	}, zap.NewNop())
	go func() { _ = e.Events.Run(ctx) }()
	return e
}

func (a *api) Do(context.Context, apiclient.Request) ([]byte, error) {
	return nil, fmt.Errorf("nothing is read")
}

func (a *api) Bulk(_ context.Context, _ apiclient.BulkOptions, requests []apiclient.Request) ([]apiclient.Result, error) {
	results := make([]apiclient.Result, len(requests))
	for i, r := range requests {
		results[i].Body, results[i].Err = a.write(r)
	}
	return results, nil
}

func (a *api) write(r apiclient.Request) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if strings.HasSuffix(r.Path, "/events") {
		var e struct{ Reason, Message, Note string }
		if err := json.Unmarshal(r.Body, &e); err != nil {
			return nil, err
		}
		a.events = append(a.events, e.Reason+": "+e.Message+e.Note)
		return []byte("{}"), nil
	}
	a.written, a.bodies = append(a.written, r.Method+" "+r.Path), append(a.bodies, string(r.Body))
	parts := strings.Split(strings.TrimPrefix(r.Path, "/api/v1/"), "/")
	if parts[0] == "nodes" {
		return change(a, a.world.Nodes, "", parts[1], r)
	}
	return change(a, a.world.Pods, parts[1], parts[3], r)
}

func change[T any](a *api, kind *mirror.Kind[T], namespace, name string, r apiclient.Request) ([]byte, error) {
	old := kind.Get(namespace, name)
	if old == nil {
		return nil, apierrors.NewNotFound(corev1.Resource(kind.Resource().Resource), name)
	}
	a.revision++
	if r.Method == "DELETE" {
		kind.Drop(a.revision, namespace, name)
		return []byte("{}"), nil
	}
	data, err := json.Marshal(old)
	if err != nil {
		return nil, err
	}
	next := new(T)
	switch {
	case strings.Contains(r.ContentType, "strategic"):
		if data, err = strategicpatch.StrategicMergePatch(data, r.Body, next); err != nil {
			return nil, err
		}
	case r.Method == "PUT":
		data = r.Body
	default: // a merge of whole fields, as all are that are sent here
		*next = *old
	}
	if err := json.Unmarshal(data, next); err != nil {
		return nil, err
	}
	if r.Method == "PATCH" && !strings.Contains(r.ContentType, "strategic") {
		if spec, ok := any(next).(*corev1.Node); ok {
			spec.Spec.Taints = nil
			if !strings.Contains(string(r.Body), `"taints"`) {
				spec.Spec.Taints = any(old).(*corev1.Node).Spec.Taints
			}
		}
		if err := json.Unmarshal(r.Body, next); err != nil {
			return nil, err
		}
	}
	any(next).(metav1.Object).SetResourceVersion(fmt.Sprint(a.revision))
	kind.Put(a.revision, next)
	return json.Marshal(next)
}

func (a *api) put(object any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.revision++
	switch o := object.(type) {
	case *corev1.Node:
		o.ResourceVersion = fmt.Sprint(a.revision)
		a.world.Nodes.Put(a.revision, o)
	case *corev1.Pod:
		o.ResourceVersion = fmt.Sprint(a.revision)
		a.world.Pods.Put(a.revision, o)
	}
}

func (a *api) node(name string) *corev1.Node { return a.world.Nodes.Get("", name) }

// ready tells a node's condition Ready and its NoExecute taint, if any.
func (a *api) ready(name string) string {
	n := a.node(name)
	said := string(conditionOf(n.Status.Conditions, corev1.NodeReady).Status)
	for _, t := range noExecute(n) {
		said += " " + strings.TrimPrefix(t.Key, "node.kubernetes.io/")
	}
	return said
}

func readyNode(name, zone string) *corev1.Node {
	n := newNode("True")
	n.Name, n.UID = name, types.UID(name)
	n.Labels = map[string]string{corev1.LabelTopologyZone: zone}
	return n
}

func readyPod(name, node string, tolerations ...corev1.Toleration) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
		Spec:       corev1.PodSpec{NodeName: node, Tolerations: tolerations},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
}

// living runs a lifecycle of nodes; hears is what the bus answers.
func living(t *testing.T, a *api, hears func(context.Context) error, story func(l *lifecycle)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		e := a.env(t, ctx)
		l := newLifecycle(e, hears)
		ended := make(chan struct{})
		go func() { defer close(ended); _ = l.Run(ctx, 4) }()
		synctest.Wait()
		story(l)
		cancel()
		<-ended
		e.End()
		synctest.Wait()
	})
}

func answers(context.Context) error { return nil }

// beating has nodes give signs of life for a while.
func beating(l *lifecycle, d time.Duration, names ...string) {
	for ; d > 0; d -= 10 * time.Second {
		for _, name := range names {
			l.beat(name)
		}
		time.Sleep(min(d, 10*time.Second))
	}
	synctest.Wait()
}
