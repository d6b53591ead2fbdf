package gateway

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto/apiclient"
)

// mayAll lets users do everything, without being of the exempt group.
func mayAll(t testing.TB, g *running, users ...string) {
	t.Helper()
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "all"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"}}
	for _, u := range users {
		binding.Subjects = append(binding.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: u})
	}
	must[rbacv1.ClusterRoleBinding](t, g, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
}

// BenchmarkFlood measures what one client's flood does to another's creates: their p99
// alone and beside it, and how many times longer it is. Both are of the same priority
// level, which is the worst case. KUBUS_BENCH_SEATS sets fairness.seats.
func BenchmarkFlood(b *testing.B) {
	const polite, greedy = "system:serviceaccount:default:polite", "system:serviceaccount:default:greedy"
	var n atomic.Int64
	create := func(ctx context.Context, c *apiclient.Client) error {
		_, err := c.Do(ctx, apiclient.Request{Method: "POST", Path: configMaps, Body: fmt.Appendf(nil, `{"metadata":{"name":"c-%d"},"data":{"a":"1"}}`, n.Add(1))})
		return err
	}
	list := func(ctx context.Context, c *apiclient.Client) error {
		_, err := c.Do(ctx, apiclient.Request{Path: "/api/v1/configmaps"})
		return err
	}
	for name, flood := range map[string]func(context.Context, *apiclient.Client) error{"creates": create, "lists": list} {
		b.Run(name, func(b *testing.B) {
			g := start(b, func(c *Config) {
				if n, err := strconv.Atoi(os.Getenv("KUBUS_BENCH_SEATS")); err == nil {
					c.Fairness.Seats = n
				}
			})
			mayAll(b, g, polite, greedy)
			client, flooding := apiclient.New(apiclient.Local(g), polite), apiclient.New(apiclient.Local(g), greedy)
			p99 := func() time.Duration {
				var took []time.Duration
				for end := time.Now().Add(4 * time.Second); time.Now().Before(end); {
					began := time.Now()
					if err := create(b.Context(), client); err != nil {
						b.Fatal(err)
					}
					took = append(took, time.Since(began))
				}
				slices.Sort(took)
				return took[len(took)*99/100]
			}
			for i := range 1000 {
				if _, err := g.do(b, "POST", configMaps, configMap(fmt.Sprint("there-", i))); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				alone := p99()
				ctx, cancel := context.WithCancel(b.Context())
				var wait sync.WaitGroup
				var served, refused atomic.Int64
				for range 400 {
					wait.Go(func() {
						for ctx.Err() == nil {
							if flood(ctx, flooding) == nil {
								served.Add(1)
								continue
							}
							refused.Add(1)
							select { // as client-go heeds Retry-After
							case <-time.After(time.Second):
							case <-ctx.Done():
							}
						}
					})
				}
				beside := p99()
				cancel()
				wait.Wait()
				b.ReportMetric(float64(alone.Microseconds())/1000, "alone-p99-ms")
				b.ReportMetric(float64(beside.Microseconds())/1000, "beside-p99-ms")
				b.ReportMetric(float64(beside)/float64(alone), "times")
				b.ReportMetric(float64(served.Load()), "served")
				b.ReportMetric(float64(refused.Load()), "refused")
			}
		})
	}
}

// BenchmarkCreateAsUser measures creates in the process by 16 clients whose level is
// not exempt: what fairness costs those who pass it.
func BenchmarkCreateAsUser(b *testing.B) {
	const user = "system:serviceaccount:default:one"
	g := start(b)
	mayAll(b, g, user)
	var n atomic.Int64
	b.SetParallelism(8) // times GOMAXPROCS
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		c := apiclient.New(apiclient.Local(g), user)
		for pb.Next() {
			if _, err := c.Do(b.Context(), apiclient.Request{Method: "POST", Path: configMaps, Body: fmt.Appendf(nil, `{"metadata":{"name":"u-%d"},"data":{"a":"1"}}`, n.Add(1))}); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "creates/s")
}

// BenchmarkLargeWrites measures updates of an object of 900 KB by one client.
func BenchmarkLargeWrites(b *testing.B) {
	g := start(b)
	large := strings.Repeat("x", 900<<10)
	must[corev1.ConfigMap](b, g, "POST", configMaps, configMap("large"))
	n := 0
	for b.Loop() {
		n++
		if _, err := g.admin.Do(b.Context(), apiclient.Request{Method: "PUT", Path: configMaps + "/large", Body: fmt.Appendf(nil, `{"metadata":{"name":"large"},"data":{"a":%q,"n":"%d"}}`, large, n)}); err != nil {
			b.Fatal(err)
		}
	}
}
