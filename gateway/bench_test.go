package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/kubernetes/pkg/apis/core"

	"kubus.dev/gateway/internal/loopback"
	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto/apiclient"
	"kubus.dev/services/kit"
)

// BenchmarkCreateConfigMap measures creates by 16 clients over HTTPS; the
// clients' own cost is part of it.
func BenchmarkCreateConfigMap(b *testing.B) {
	g := start(b)
	value := bytes.Repeat([]byte("x"), 1024)
	var n atomic.Int64
	b.SetParallelism(8) // times GOMAXPROCS
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			body := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c-%d"},"data":{"v":"%s"}}`, n.Add(1), value)
			resp, err := g.http.Post(g.url+"/api/v1/namespaces/default/configmaps", "application/json", bytes.NewReader([]byte(body)))
			if err != nil {
				b.Error(err)
				return
			}
			data, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != http.StatusCreated {
				b.Errorf("%d: %s", resp.StatusCode, data)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "creates/s")
}

// BenchmarkCreateService measures creates of Services with an address and a node
// port, by one client and by 16.
func BenchmarkCreateService(b *testing.B) {
	for _, clients := range []int{1, 16} {
		for _, kind := range []string{"ClusterIP", "NodePort"} {
			b.Run(fmt.Sprintf("%s/%d", kind, clients), func(b *testing.B) {
				g := start(b)
				var n, failed atomic.Int64
				var wait sync.WaitGroup
				b.ResetTimer()
				for range clients {
					wait.Go(func() {
						for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
							body := fmt.Appendf(nil, `{"metadata":{"name":"s-%d"},"spec":{"type":%q,"selector":{"a":"b"},"ports":[{"port":80}]}}`, i, kind)
							if _, err := g.admin.Do(b.Context(), apiclient.Request{Method: "POST", Path: "/api/v1/namespaces/default/services", Body: body}); err != nil {
								failed.Add(1)
								b.Error(err)
								return
							}
						}
					})
				}
				wait.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "creates/s")
			})
		}
	}
}

// BenchmarkBulk measures what controllers, scheduler and status service ask for:
// pods created, bound, and their status written, each in bulk requests.
func BenchmarkBulk(b *testing.B) {
	const pods = 1000
	for b.Loop() {
		g := start(b)
		must[corev1.ServiceAccount](b, g, "POST", "/api/v1/namespaces/default/serviceaccounts", &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
		bulk := func(unit string, item func(i int) apiclient.Request) {
			items := make([]apiclient.Request, pods)
			for i := range items {
				items[i] = item(i)
			}
			begin := time.Now()
			results, err := g.admin.Bulk(b.Context(), apiclient.BulkOptions{}, items)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(pods/time.Since(begin).Seconds(), unit)
			for _, r := range results {
				if r.Err != nil {
					b.Fatal(r.Err)
				}
			}
		}
		bulk("creates/s", func(i int) apiclient.Request {
			return apiclient.Request{Method: "POST", Path: podPath, Body: fmt.Appendf(nil, `{"metadata":{"name":"p-%d","labels":{"app":"web"}},"spec":{"containers":[{"name":"c","image":"nginx","resources":{"requests":{"cpu":"10m"}}}]}}`, i)}
		})
		bulk("binds/s", func(i int) apiclient.Request {
			return apiclient.Request{Method: "POST", Path: fmt.Sprintf("%s/p-%d/binding", podPath, i), Body: fmt.Appendf(nil, `{"metadata":{"name":"p-%d"},"target":{"kind":"Node","name":"n"}}`, i)}
		})
		bulk("statuses/s", func(i int) apiclient.Request {
			return apiclient.Request{Method: "PATCH", Path: fmt.Sprintf("%s/p-%d/status", podPath, i), ContentType: "application/strategic-merge-patch+json",
				Body: fmt.Appendf(nil, `{"status":{"phase":"Running","podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"}],"conditions":[{"type":"Ready","status":"True"}]}}`)}
		})
		bulk("deletes/s", func(i int) apiclient.Request {
			return apiclient.Request{Method: "DELETE", Path: fmt.Sprintf("%s/p-%d", podPath, i), Body: []byte(`{"gracePeriodSeconds":0}`)}
		})
	}
}

// BenchmarkList measures lists of 20,000 objects: built-in ones beside custom ones that
// hold the same.
func BenchmarkList(b *testing.B) {
	const many = 20000
	g := start(b)
	g.defined(b, definition("shop.example.com", "widgets", "Widget", "Namespaced", version("v1", true, `{"type":"object","properties":{"data":{"type":"object","additionalProperties":{"type":"string"}},"size":{"type":"integer","default":1}}}`)))
	value := strings.Repeat("x", 512)
	for _, c := range []struct{ name, path, object string }{
		{"configmaps", configMaps, `{"metadata":{"name":"o-%d"},"data":{"v":"%s"}}`},
		{"widgets", widgets, `{"apiVersion":"shop.example.com/v1","kind":"Widget","metadata":{"name":"o-%d"},"data":{"v":"%s"}}`},
	} {
		b.Run(c.name, func(b *testing.B) {
			var items []apiclient.Request
			for i := range many {
				items = append(items, apiclient.Request{Method: "POST", Path: c.path, Body: fmt.Appendf(nil, c.object, i, value)})
			}
			begin := time.Now()
			results, err := g.admin.Bulk(b.Context(), apiclient.BulkOptions{}, items)
			if err != nil || results[0].Err != nil || results[many-1].Err != nil {
				b.Fatal(err, results[0].Err, results[many-1].Err)
			}
			creates := many / time.Since(begin).Seconds()
			begin = time.Now()
			data, err := g.do(b, "GET", c.path, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(data)))
			first := time.Since(begin).Seconds()
			for b.Loop() {
				if _, err := g.do(b, "GET", c.path, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(creates, "creates/s")
			b.ReportMetric(first*1000, "ms-first")
			for i := range items {
				items[i] = apiclient.Request{Method: "DELETE", Path: fmt.Sprintf("%s/o-%d", c.path, i)}
			}
			if _, err := g.admin.Bulk(b.Context(), apiclient.BulkOptions{}, items); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkAdmissionOfAPod measures the whole chain for a pod where there are no
// quotas, webhooks or policies: what everybody pays.
func BenchmarkAdmissionOfAPod(b *testing.B) {
	g := start(b)
	must[corev1.ServiceAccount](b, g, "POST", "/api/v1/namespaces/default/serviceaccounts", `{"metadata":{"name":"default"}}`)
	edges, err := g.edges(&kit.Process{})
	if err != nil {
		b.Fatal(err)
	}
	clients, err := loopback.New(apiclient.New(apiclient.Local(g), AdminUser))
	if err != nil {
		b.Fatal(err)
	}
	registry := resource.NewRegistry(resource.BuiltIn())
	chain, err := g.admission(b.Context(), registry, edges, clients)
	if err != nil {
		b.Fatal(err)
	}
	pod := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", Labels: map[string]string{"app": "web"}},
		Spec: core.PodSpec{Containers: []core.Container{{Name: "c", Image: "nginx"}}, SecurityContext: &core.PodSecurityContext{}}}
	objects := admission.NewObjectInterfacesFromScheme(resource.Scheme)
	user := &user.DefaultInfo{Name: "somebody"}
	gv := schema.GroupVersion{Version: "v1"}
	b.ReportAllocs()
	for b.Loop() {
		a := admission.NewAttributesRecord(pod.DeepCopy(), nil, gv.WithKind("Pod"), "default", "p", gv.WithResource("pods"), "", admission.Create, &metav1.CreateOptions{}, false, user)
		if err := chain.(admission.MutationInterface).Admit(b.Context(), a, objects); err != nil {
			b.Fatal(err)
		}
		if err := chain.(admission.ValidationInterface).Validate(b.Context(), a, objects); err != nil {
			b.Fatal(err)
		}
	}
}

// processorTime is what this process has used, which a busy machine changes less than
// the time that passes.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// BenchmarkPolicies measures what 100 ValidatingAdmissionPolicies that match cost a
// create that is not stored, once their types are checked.
func BenchmarkPolicies(b *testing.B) {
	g := start(b)
	create := func(b *testing.B) {
		b.ReportAllocs()
		began := processorTime(b)
		for b.Loop() {
			if _, err := g.do(b, "POST", configMaps+"?dryRun=All", configMap("x")); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64((processorTime(b)-began).Microseconds())/float64(b.N), "cpu-us/op")
	}
	b.Run("without", create)
	policies(b, g, 100, "")
	for i := range 100 {
		if _, err := g.do(b, "POST", registrations+"validatingadmissionpolicybindings", fmt.Sprintf(`{"metadata":{"name":"p-%d"},"spec":{"policyName":"p-%d","validationActions":["Deny"],
			"matchResources":{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"default"}}}}}`, i, i)); err != nil {
			b.Fatal(err)
		}
	}
	for {
		if _, err := g.do(b, "POST", configMaps+"?dryRun=All", `{"metadata":{"name":"x"},"data":{"a":"refused by 99"}}`); err != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	checked(b, g) // what works in the background is no part of a create's cost
	b.Run("with", create)
}

// policies makes policies about creates of ConfigMaps, in one request.
func policies(b *testing.B, g *running, count int, prefix string) {
	b.Helper()
	items := make([]apiclient.Request, count)
	for i := range items {
		items[i] = apiclient.Request{Method: "POST", Path: registrations + "validatingadmissionpolicies", Body: fmt.Appendf(nil, `{"metadata":{"name":"%sp-%d"},"spec":{"failurePolicy":"Fail",
			"matchConstraints":{"resourceRules":[{"apiGroups":[""],"apiVersions":["v1"],"operations":["CREATE"],"resources":["configmaps"]}]},
			"validations":[{"expression":"!has(object.data) || object.data.all(k, object.data[k] != 'refused by %d')"}]}}`, prefix, i, i)}
	}
	results, err := g.admin.Bulk(b.Context(), apiclient.BulkOptions{}, items)
	if err != nil {
		b.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			b.Fatal(r.Err)
		}
	}
}

// checked waits until the types of every policy are checked.
func checked(b *testing.B, g *running) {
	b.Helper()
	for {
		list := must[admissionv1.ValidatingAdmissionPolicyList](b, g, "GET", registrations+"validatingadmissionpolicies", nil)
		if !slices.ContainsFunc(list.Items, func(p admissionv1.ValidatingAdmissionPolicy) bool { return p.Status.ObservedGeneration != p.Generation }) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// BenchmarkTypeChecking measures how long it takes until the types of 100 new policies
// are checked.
func BenchmarkTypeChecking(b *testing.B) {
	const count = 100
	g := start(b)
	b.ReportAllocs()
	began, runs := processorTime(b), 0
	for b.Loop() {
		policies(b, g, count, fmt.Sprintf("r%d-", runs))
		checked(b, g)
		runs++
	}
	b.ReportMetric(float64((processorTime(b)-began).Microseconds())/float64(runs*count), "cpu-us/policy")
}
