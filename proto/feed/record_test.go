package feed

import (
	"bufio"
	"bytes"
	"reflect"
	"testing"
	"time"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
)

func TestARecordIsReadBackAsItWasWritten(t *testing.T) {
	for _, m := range []*bus.StreamMsg{
		{Subject: "state.core.pods.a.b", Seq: 7, Time: time.Unix(0, 1_700_000_000_123), Data: []byte(`{"a":1}`), Header: bus.Header{proto.HeaderOperation: {"create"}}},
		{Subject: "state_barrier.STATE.x", Seq: 1 << 60, Time: time.Unix(0, 1), Data: []byte{}},
	} {
		r := bufio.NewReader(bytes.NewReader(appendMessage(appendSettled(nil, 300), m)))
		for _, want := range []struct {
			m       *bus.StreamMsg
			settled uint64
		}{{nil, 300}, {m, 0}} {
			record, err := readRecord(r)
			if err != nil {
				t.Fatal(err)
			}
			if got, settled, err := parse(record); err != nil || settled != want.settled || !reflect.DeepEqual(got, want.m) {
				t.Errorf("got %+v, %d, %v, want %+v", got, settled, err, want)
			}
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(appendMessage(nil, &bus.StreamMsg{Subject: "s", Seq: 1, Data: []byte("d")})[1:])
	f.Add(appendSettled(nil, 1)[1:])
	f.Add([]byte{0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, _, err := parse(data)
		if err == nil && m != nil && len(m.Data) > len(data) {
			t.Errorf("%d bytes of %d", len(m.Data), len(data))
		}
	})
}

func TestAClientReadsWhatItsRoleMay(t *testing.T) {
	for name, c := range map[string]struct {
		client, stream string
		asked, want    []string
	}{
		"all of a stream":                       {"events", "STATE", nil, []string{"state.>"}},
		"one with the fence that it leads by":   {"controllers-autoscaling", "STATE", []string{"state_fence.controllers-autoscaling"}, []string{"state_fence.controllers-autoscaling"}},
		"another's fence":                       {"controllers-autoscaling", "STATE", []string{"state_fence.controllers-nodes"}, nil},
		"all Secrets, by a group of few kinds":  {"controllers-workloads", "STATE", []string{"state.core.secrets.>"}, nil},
		"all that a role may":                   {"proxy/n", "STATE", nil, []string{"state.core.services.>", "state.discovery=2Ek8s=2Eio.endpointslices.>", "state.core.nodes.>", "state.networking=2Ek8s=2Eio.networkpolicies.>", "state.core.pods.>", "state.core.namespaces.>"}},
		"a part of it":                          {"proxy/n", "STATE", []string{"state.core.services.>"}, []string{"state.core.services.>"}},
		"one object":                            {"proxy/n", "STATE", []string{"state.core.services.a.b"}, []string{"state.core.services.a.b"}},
		"more than it may":                      {"proxy/n", "STATE", []string{"state.>"}, nil},
		"another resource":                      {"dns", "STATE", []string{"state.core.secrets.>"}, nil},
		"a resource that begins as one it may":  {"dns", "STATE", []string{"state.core.servicesx.>"}, nil},
		"a wildcard in place of the resource":   {"dns", "STATE", []string{"state.core.*.>"}, nil},
		"what is no object":                     {"controllers-objects", "STATE", []string{"state_fence.*"}, nil},
		"another stream":                        {"scheduler", "LEASES", nil, nil},
		"a stream that is not of the log":       {"controllers-objects", "REPORTS", nil, nil},
		"a client that reads nothing":           {"automation", "STATE", nil, nil},
		"an agent":                              {"agent/n", "STATE", nil, nil},
		"the agents' role":                      {"agent", "STATE", nil, nil},
		"a gateway, which has the store itself": {"gateway", "STATE", nil, nil},
		"a client that there is not":            {"x", "STATE", nil, nil},
	} {
		got, err := filter(c.client, request{Stream: c.stream, Subjects: c.asked})
		if !reflect.DeepEqual(got, c.want) || (err == nil) != (c.want != nil) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}
