package syncer_test

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"kubus.dev/services/proxy/internal/lab"
	"kubus.dev/services/proxy/internal/service"
	"kubus.dev/services/proxy/internal/syncer"
)

// TestManyServices measures; it runs only when KUBUS_SERVICES says how many.
func TestManyServices(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("KUBUS_SERVICES"))
	if err != nil {
		t.Skip("set KUBUS_SERVICES to measure, such as 10000")
	}
	l := lab.New(t)
	begin := time.Now()
	b := startWithin(t, l, "a", 10*time.Minute, func(s *syncer.Syncer) {
		for i := range n {
			svc, slice := numbered(i, 5)
			s.SetService(svc.Name, svc)
			s.SetSlice(svc.Name, slice)
		}
	})
	t.Logf("%d Services with 5 endpoints each: first sync after %v, %d chains, %d bytes", n, time.Since(begin), b.results[0].Chains, b.results[0].Bytes)
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	t.Logf("heap in use: %d MiB", memory.HeapInuse>>20)
	for i := range 10 {
		svc, slice := numbered(i*7%n, 4)
		b.settled(func() { b.SetSlice(svc.Name, slice) })
		last := b.results[len(b.results)-1]
		t.Logf("one endpoint less: waited %v, written in %v, %d chains, %d bytes", last.Waited, last.Took, last.Chains, last.Bytes)
	}
}

// numbered is the i-th of many Services, with some ready endpoints.
func numbered(i, endpoints int) (*service.Service, *service.Slice) {
	name := service.Name{Namespace: "many", Name: fmt.Sprintf("web-%d", i)}
	svc := &service.Service{
		Name: name, ClusterIP: netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}),
		Ports: []service.ServicePort{{Protocol: "tcp", Port: 80}},
	}
	slice := &service.Slice{Service: name, Ports: []service.SlicePort{{Protocol: "tcp", Number: 8080}}}
	for e := range endpoints {
		addr := netip.AddrFrom4([4]byte{10, 244, byte((i*5 + e) >> 8), byte(i*5 + e)})
		slice.Endpoints = append(slice.Endpoints, service.Endpoint{Addr: addr, Node: "there", Ready: true, Serving: true})
	}
	return svc, slice
}
