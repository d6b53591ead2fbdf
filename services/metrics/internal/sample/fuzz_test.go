package sample

import (
	"math"
	"testing"

	"google.golang.org/protobuf/proto"

	"kubus.dev/proto/message"
)

// Whatever a node says of what it and its pods use, what is told of it is an amount, and so
// is the sum over many who say the same: nobody takes away from what others use.
func FuzzUsage(f *testing.F) {
	for _, u := range []*message.Usage{
		{CpuNs: 1e9, MemoryBytes: 1 << 20}, {CpuNs: math.MaxUint64, MemoryBytes: math.MaxUint64, AfterNs: math.MaxInt64}, {StartUnixNs: math.MinInt64, AfterNs: math.MinInt64},
	} {
		data, err := proto.Marshal(&message.NodeUsage{TimeUnixNs: began.UnixNano(), Node: u, Pods: []*message.PodUsage{{Uid: "u", Containers: []*message.ContainerUsage{{Name: "a", Usage: u}, {}}}}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, data)
		f.Add([]byte{}, data)
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		s := New()
		for _, data := range [][]byte{first, second, first} {
			m := &message.NodeUsage{}
			if proto.Unmarshal(data, m) != nil {
				continue
			}
			s.Begin()
			s.Take("n", m)
			rates := []Rate{}
			if r, ok := s.Node("n"); ok {
				rates = append(rates, r)
			}
			for _, p := range m.Pods {
				r, _ := s.Pod("n", p.GetUid())
				rates = append(rates, r...)
			}
			for _, r := range rates {
				const many = 100_000
				if r.NanoCores < 0 || r.NanoCores > math.MaxInt64/many || r.Bytes < 0 || r.Bytes > math.MaxInt64/many || r.Window <= 0 {
					t.Errorf("%+v", r)
				}
			}
		}
	})
}
