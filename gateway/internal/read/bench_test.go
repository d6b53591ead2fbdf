package read_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kubus.dev/gateway/internal/read"
)

// BenchmarkListOf10kPods is a whole list over HTTP, its client reading and dropping it.
func BenchmarkListOf10kPods(b *testing.B) {
	s := start(b, nil)
	s.fill(10_000)
	for _, accept := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		b.Run(accept, func(b *testing.B) {
			for b.Loop() {
				req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, s.url+"/api/v1/pods", nil)
				if err != nil {
					b.Fatal(err)
				}
				req.Header.Set("Accept", accept)
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(n)
			}
		})
	}
}

// BenchmarkWatchBurst counts events delivered to 500 watchers.
func BenchmarkWatchBurst(b *testing.B) {
	s := start(b, func(*read.Options) {})
	before := s.pod("a", "first", "", nil)
	const watchers = 500
	var seen atomic.Int64
	var ready, done sync.WaitGroup
	total := int64(0)
	for range watchers {
		ready.Add(1)
		done.Go(func() {
			resp, err := http.Get(fmt.Sprintf("%s/api/v1/pods?watch=1&resourceVersion=%d", s.url, before))
			ready.Done()
			if err != nil {
				b.Error(err)
				return
			}
			defer resp.Body.Close()
			r := bufio.NewReaderSize(resp.Body, 64<<10)
			for {
				line, err := r.ReadSlice('\n')
				if err != nil && err != bufio.ErrBufferFull {
					return
				}
				if bytes.HasSuffix(line, []byte("\n")) {
					seen.Add(1)
				}
			}
		})
	}
	ready.Wait()
	labels := map[string]string{"x": strings.Repeat("y", 1500)}
	b.ResetTimer()
	for range b.N { // a burst each: 64 pods at once
		var writers sync.WaitGroup
		for i := range 64 {
			writers.Go(func() { s.pod("a", fmt.Sprintf("p%d", i), "", labels) })
		}
		writers.Wait()
		total += 64 * watchers
	}
	for seen.Load() < total {
		time.Sleep(time.Millisecond)
	}
	b.StopTimer()
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "events/s")
	s.stop()
	done.Wait()
}
