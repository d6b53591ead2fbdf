package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	kubelet "k8s.io/component-helpers/apimachinery/lease"
	"k8s.io/utils/clock"

	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bustest"
)

const nodeLeases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"

// beat is a node's agent saying that it lives, and waits until the gateway has heard.
func (g *running) beat(t testing.TB, node string) *coordinationv1.Lease {
	t.Helper()
	began := time.Now()
	if err := g.conn.Publish(proto.HeartbeatSubject(node), nil); err != nil {
		t.Fatal(err)
	}
	for {
		lease, err := apiclient.Get[coordinationv1.Lease](t.Context(), g.admin, nodeLeases+"/"+node)
		if err == nil && !lease.Spec.RenewTime.Time.Before(began.Truncate(time.Microsecond)) {
			return lease
		}
		if time.Since(began) > patience {
			t.Fatalf("no lease of %s: got %+v, %v", node, lease, err)
		}
		time.Sleep(time.Millisecond)
	}
}

func newNode(t testing.TB, g *running, name string) *corev1.Node {
	t.Helper()
	return must[corev1.Node](t, g, "POST", "/api/v1/nodes", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
}

func TestHeartbeatsAreShownAsLeases(t *testing.T) {
	g := start(t)
	node := newNode(t, g, "n1")
	newNode(t, g, "silent")
	before, err := g.conn.StreamState(t.Context(), "LEASES")
	if err != nil {
		t.Fatal(err)
	}
	shown := g.beat(t, "n1")
	if *shown.Spec.HolderIdentity != "n1" || *shown.Spec.LeaseDurationSeconds != 40 || shown.UID == "" || shown.OwnerReferences[0].UID != node.UID {
		t.Errorf("got %+v", shown)
	}
	for _, path := range []string{nodeLeases, "/apis/coordination.k8s.io/v1/leases"} {
		list := must[coordinationv1.LeaseList](t, g, "GET", path, nil)
		if len(list.Items) != 1 || list.Items[0].Name != "n1" || list.Items[0].ResourceVersion != list.ResourceVersion || list.ResourceVersion == "0" {
			t.Errorf("%s: got %+v", path, list)
		}
	}
	table := get(t, g, apiclient.Request{Method: "GET", Path: nodeLeases, Accept: "application/json;as=Table;v=v1;g=meta.k8s.io"})
	if !strings.Contains(string(table), `"cells":["n1","n1",`) {
		t.Errorf("got %s", table)
	}
	g.fails(t, metav1.StatusReasonNotFound, `leases.coordination.k8s.io "silent" not found`, "GET", nodeLeases+"/silent", nil)
	if after, err := g.conn.StreamState(t.Context(), "LEASES"); err != nil || after.LastSeq != before.LastSeq {
		t.Errorf("the log of Leases is at %d after %d, %v", after.LastSeq, before.LastSeq, err)
	}
	must[metav1.Status](t, g, "DELETE", "/api/v1/nodes/n1", nil)
	g.fails(t, metav1.StatusReasonNotFound, "not found", "GET", nodeLeases+"/n1", nil)
}

func TestWritesToAShownLease(t *testing.T) {
	const merge, apply = "application/merge-patch+json", "application/apply-patch+yaml"
	for name, test := range map[string]func(t *testing.T, g *running, shown *coordinationv1.Lease){
		"one that is created is stored and wins": func(t *testing.T, g *running, shown *coordinationv1.Lease) {
			body := `{"metadata":{"name":"n1"},"spec":{"holderIdentity":"kubelet","leaseDurationSeconds":40}}`
			made := must[coordinationv1.Lease](t, g, "POST", nodeLeases, body)
			if err := g.conn.Publish(proto.HeartbeatSubject("n1"), nil); err != nil {
				t.Fatal(err)
			}
			got := must[coordinationv1.Lease](t, g, "GET", nodeLeases+"/n1", nil)
			list := must[coordinationv1.LeaseList](t, g, "GET", nodeLeases, nil)
			if *got.Spec.HolderIdentity != "kubelet" || got.UID != made.UID || got.UID == shown.UID || len(list.Items) != 1 || list.Items[0].UID != made.UID {
				t.Errorf("got %+v in %+v", got, list)
			}
			g.fails(t, metav1.StatusReasonAlreadyExists, `leases.coordination.k8s.io "n1" already exists`, "POST", nodeLeases, body)
			must[metav1.Status](t, g, "DELETE", nodeLeases+"/n1", nil)
			if got := must[coordinationv1.Lease](t, g, "GET", nodeLeases+"/n1", nil); got.UID != shown.UID {
				t.Errorf("after the deletion of the stored one: got %+v", got)
			}
		},
		"an update of what was read stores it": func(t *testing.T, g *running, shown *coordinationv1.Lease) {
			shown.Labels = map[string]string{"by": "put"}
			must[coordinationv1.Lease](t, g, "PUT", nodeLeases+"/n1?dryRun=All", shown)
			if got := must[coordinationv1.Lease](t, g, "GET", nodeLeases+"/n1", nil); got.Labels != nil {
				t.Errorf("a dry run left %+v", got)
			}
			put := must[coordinationv1.Lease](t, g, "PUT", nodeLeases+"/n1", shown)
			if put.UID == shown.UID || put.Labels["by"] != "put" || len(put.OwnerReferences) != 1 {
				t.Errorf("got %+v", put)
			}
			g.fails(t, metav1.StatusReasonConflict, "Precondition failed: UID in precondition", "PUT", nodeLeases+"/n1", shown)
			must[coordinationv1.Lease](t, g, "PUT", nodeLeases+"/n1", put)
		},
		"an update of another object is a conflict": func(t *testing.T, g *running, shown *coordinationv1.Lease) {
			shown.UID = "other"
			g.fails(t, metav1.StatusReasonConflict, "Precondition failed: UID in precondition", "PUT", nodeLeases+"/n1", shown)
		},
		"a patch is of what is shown": func(t *testing.T, g *running, shown *coordinationv1.Lease) {
			got := must[coordinationv1.Lease](t, g, "PATCH", nodeLeases+"/n1", `{"metadata":{"labels":{"by":"patch"}}}`, merge)
			if got.Labels["by"] != "patch" || *got.Spec.HolderIdentity != "n1" || got.Spec.RenewTime == nil || got.UID == shown.UID {
				t.Errorf("got %+v", got)
			}
			again := must[coordinationv1.Lease](t, g, "PATCH", nodeLeases+"/n1", `{"metadata":{"labels":{"more":"1"}}}`, merge)
			if again.UID != got.UID || len(again.Labels) != 2 {
				t.Errorf("got %+v", again)
			}
		},
		"so is an applied configuration": func(t *testing.T, g *running, _ *coordinationv1.Lease) {
			const yaml = "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: n1, labels: {by: apply}}\n"
			got := must[coordinationv1.Lease](t, g, "PATCH", nodeLeases+"/n1?fieldManager=me", yaml, apply)
			if got.Labels["by"] != "apply" || *got.Spec.HolderIdentity != "n1" {
				t.Errorf("got %+v", got)
			}
		},
		"a patch of what is neither shown nor stored finds nothing": func(t *testing.T, g *running, _ *coordinationv1.Lease) {
			g.fails(t, metav1.StatusReasonNotFound, `leases.coordination.k8s.io "n2" not found`, "PATCH", nodeLeases+"/n2", `{}`, merge)
			g.fails(t, metav1.StatusReasonNotFound, `leases.coordination.k8s.io "n2" not found`, "DELETE", nodeLeases+"/n2", nil)
		},
		"deleted, it is there again with the next heartbeat": func(t *testing.T, g *running, shown *coordinationv1.Lease) {
			other := `{"preconditions":{"uid":"other"}}`
			g.fails(t, metav1.StatusReasonConflict, "the UID in the precondition (other) does not match the UID in record", "DELETE", nodeLeases+"/n1", other)
			must[metav1.Status](t, g, "DELETE", nodeLeases+"/n1?dryRun=All", nil)
			must[coordinationv1.Lease](t, g, "GET", nodeLeases+"/n1", nil)
			status := must[metav1.Status](t, g, "DELETE", nodeLeases+"/n1", nil)
			if status.Status != metav1.StatusSuccess || status.Details.UID != shown.UID {
				t.Errorf("got %+v", status)
			}
			g.fails(t, metav1.StatusReasonNotFound, "not found", "GET", nodeLeases+"/n1", nil)
			g.fails(t, metav1.StatusReasonNotFound, "not found", "DELETE", nodeLeases+"/n1", nil)
			g.beat(t, "n1")
		},
		"a kubelet that takes the node over renews a stored one": func(t *testing.T, g *running, shown *coordinationv1.Lease) {
			client, err := kubernetes.NewForConfigAndClient(&rest.Config{Host: g.url}, g.http)
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithTimeout(t.Context(), patience)
			defer stop()
			renewals := 0
			kubelet.NewController(clock.RealClock{}, client, "n1", 40, nil, time.Millisecond, "n1", "kube-node-lease", func(*coordinationv1.Lease) error {
				if renewals++; renewals == 3 {
					stop()
				}
				return nil
			}).Run(ctx)
			got := must[coordinationv1.Lease](t, g, "GET", nodeLeases+"/n1", nil)
			if got.UID == shown.UID || !got.Spec.RenewTime.After(shown.Spec.RenewTime.Time) || len(got.OwnerReferences) != 1 {
				t.Errorf("got %+v", got)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t)
			newNode(t, g, "n1")
			test(t, g, g.beat(t, "n1"))
		})
	}
}

// Whoever may only update must not create by updating what is shown.
func TestAnUpdateOfAShownLeaseAsksForTheRightToCreate(t *testing.T) {
	g := start(t)
	newNode(t, g, "n1")
	shown := g.beat(t, "n1")
	must[json.RawMessage](t, g, "POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-node-lease/roles",
		`{"metadata":{"name":"up"},"rules":[{"apiGroups":["coordination.k8s.io"],"resources":["leases"],"verbs":["get","update","patch"]}]}`)
	must[json.RawMessage](t, g, "POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-node-lease/rolebindings",
		`{"metadata":{"name":"up"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"up"},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"jane"}]}`)
	jane := apiclient.New(apiclient.Local(g), "jane")
	for _, r := range []apiclient.Request{
		{Method: http.MethodPut, Path: nodeLeases + "/n1", Body: encoded(t, shown)},
		{Method: http.MethodPatch, Path: nodeLeases + "/n1", Body: []byte(`{"metadata":{"labels":{"a":"b"}}}`), ContentType: "application/merge-patch+json"},
	} {
		if body, err := jane.Do(t.Context(), r); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `cannot create resource "leases"`) {
			t.Errorf("%s: got %s, %v", r.Method, body, err)
		}
	}
}

func encoded(t testing.TB, obj any) []byte {
	t.Helper()
	data, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestEveryGatewayHearsEveryNode(t *testing.T) {
	server := bustest.Server(t)
	one, two := startOver(t, server), startOver(t, server)
	newNode(t, one, "n1")
	if a, b := one.beat(t, "n1"), two.beat(t, "n1"); a.UID != b.UID {
		t.Errorf("got uids %s and %s", a.UID, b.UID)
	}
}
