package gateway

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto/bustest"
)

// limit makes a quota in force: as its controller does it, by a status that says what
// is hard and what is used.
func limit(t *testing.T, g *running, path, hard string, used string) {
	t.Helper()
	must[corev1.ResourceQuota](t, g, "POST", path+"/resourcequotas", fmt.Sprintf(`{"metadata":{"name":"q"},"spec":{"hard":%s}}`, hard))
	must[corev1.ResourceQuota](t, g, "PATCH", path+"/resourcequotas/q/status", fmt.Sprintf(`{"status":{"hard":%s,"used":%s}}`, hard, used), "application/merge-patch+json")
}

func TestQuotas(t *testing.T) {
	g := start(t)
	path := newNamespace(t, g, "counted")
	limit(t, g, path, `{"pods":"1","requests.cpu":"1","configmaps":"1"}`, `{"pods":"0","requests.cpu":"0","configmaps":"0"}`)
	asks := func(name, cpu string) string {
		return fmt.Sprintf(`{"metadata":{"name":%q},"spec":{"containers":[{"name":"c","image":"i","resources":{"requests":{"cpu":%q}}}]}}`, name, cpu)
	}
	g.fails(t, metav1.StatusReasonForbidden, "failed quota: q: must specify requests.cpu for: c", "POST", path+"/pods", pod("none"))
	g.fails(t, metav1.StatusReasonForbidden, "exceeded quota: q, requested: requests.cpu=2, used: requests.cpu=0, limited: requests.cpu=1", "POST", path+"/pods", asks("big", "2"))
	must[corev1.Pod](t, g, "POST", path+"/pods?dryRun=All", asks("dry", "500m"))
	must[corev1.Pod](t, g, "POST", path+"/pods", asks("first", "500m"))
	g.fails(t, metav1.StatusReasonForbidden, "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1", "POST", path+"/pods", asks("second", "100m"))
	got := must[corev1.ResourceQuota](t, g, "GET", path+"/resourcequotas/q", nil)
	if got.Status.Used.Pods().Value() != 1 || got.Status.Used.Name("requests.cpu", "").String() != "500m" {
		t.Errorf("got %v", got.Status.Used)
	}
	other := newNamespace(t, g, "uncounted")
	for i := range 3 {
		must[corev1.Pod](t, g, "POST", other+"/pods", pod(fmt.Sprintf("p-%d", i)))
	}
}

// Whatever creates at the same time, and through whatever gateway: what is used never
// exceeds what is hard, since the status is written by compare-and-set.
func TestAQuotaHoldsAcrossGateways(t *testing.T) {
	server := bustest.Server(t)
	gateways := []*running{startOver(t, server), startOver(t, server)}
	path := newNamespace(t, gateways[0], "contended")
	const most, creators, each = 40, 64, 4
	limit(t, gateways[0], path, fmt.Sprintf(`{"configmaps":"%d"}`, most), `{"configmaps":"0"}`)
	var made atomic.Int32
	var wait sync.WaitGroup
	for n := range creators {
		wait.Go(func() {
			g := gateways[n%len(gateways)]
			for i := 0; i < each; {
				_, err := g.do(t, "POST", path+"/configmaps", configMap(fmt.Sprintf("c-%d-%d", n, i)))
				switch {
				case err == nil:
					made.Add(1)
					i++
				case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota: q"):
					return
				case apierrors.IsConflict(err): // the quotas of the other gateway were faster, three times
				default:
					t.Errorf("got %v", err)
					return
				}
			}
		})
	}
	wait.Wait()
	list := must[corev1.ConfigMapList](t, gateways[1], "GET", path+"/configmaps", nil)
	quota := must[corev1.ResourceQuota](t, gateways[1], "GET", path+"/resourcequotas/q", nil)
	used := quota.Status.Used.Name("configmaps", "").Value()
	if len(list.Items) != int(made.Load()) || len(list.Items) > most || used > most || used < int64(len(list.Items)) {
		t.Errorf("%d were made, %d are there, %d are used of %d", made.Load(), len(list.Items), used, most)
	}
	if len(list.Items) != most {
		t.Errorf("%d are there, want all %d that the quota allows", len(list.Items), most)
	}
}

// What one gateway acknowledged limits the next request of another.
func TestALimitRangeHoldsAcrossGateways(t *testing.T) {
	server := bustest.Server(t)
	one, other := startOver(t, server), startOver(t, server)
	path := newNamespace(t, one, "limited")
	must[corev1.Pod](t, other, "POST", path+"/pods", pod("before"))
	must[corev1.LimitRange](t, one, "POST", path+"/limitranges", `{"metadata":{"name":"l"},"spec":{"limits":[{"type":"Container","max":{"memory":"1Gi"},"default":{"memory":"64Mi"}}]}}`)
	g := must[corev1.Pod](t, other, "POST", path+"/pods", pod("after"))
	if got := g.Spec.Containers[0].Resources.Limits.Memory().String(); got != "64Mi" {
		t.Errorf("the default of the limit range: got %s", got)
	}
	other.fails(t, metav1.StatusReasonForbidden, "maximum memory usage per Container is 1Gi, but limit is 2Gi", "POST", path+"/pods",
		`{"metadata":{"name":"large"},"spec":{"containers":[{"name":"c","image":"i","resources":{"limits":{"memory":"2Gi"}}}]}}`)
}
