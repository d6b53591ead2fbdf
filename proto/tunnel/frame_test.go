package tunnel

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"kubus.dev/proto/bus"
	"kubus.dev/proto/message"
)

// FuzzFrames: whatever the peer sends, the tunnel goes on or ends, and keeps no more
// than its windows.
func FuzzFrames(f *testing.F) {
	f.Add(uint32(1), []byte("hello"), uint64(0), false, false, []byte{})
	f.Add(uint32(1), []byte{}, uint64(1<<40), false, false, []byte("x"))
	f.Add(uint32(Channels), []byte("x"), uint64(0), true, false, []byte{0x08, 0x01})
	f.Add(uint32(noChannel), []byte{}, uint64(0), false, true, []byte{0xff, 0xff, 0xff})
	f.Add(uint32(0), make([]byte, Window), uint64(0), false, false, []byte{})
	f.Fuzz(func(t *testing.T, channel uint32, data []byte, credit uint64, closes, ends bool, raw []byte) {
		tunnel := newTunnel(nil, "peer", "inbox", 2)
		for range 3 {
			frame, err := proto.Marshal(&message.TunnelFrame{Channel: channel, Data: data, Credit: credit, CloseChannel: closes, End: ends, Sequence: tunnel.recvSeq + 1})
			if err != nil {
				t.Fatal(err)
			}
			tunnel.receive(&bus.Msg{Data: frame})
		}
		tunnel.receive(&bus.Msg{Data: raw})
		for id, c := range tunnel.channels {
			if id >= Channels || len(c.buffer) > Window {
				t.Errorf("channel %d keeps %d bytes", id, len(c.buffer))
			}
		}
		if ends && tunnel.Err() != nil && len(raw) == 0 && channel < Channels && credit == 0 {
			t.Errorf("an orderly end is told as %v", tunnel.Err())
		}
	})
}
