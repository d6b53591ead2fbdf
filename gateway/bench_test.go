package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
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
