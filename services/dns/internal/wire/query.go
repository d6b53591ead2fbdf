package wire

import "encoding/binary"

const headerSize = 12

// Query is a parsed question. It points into the packet it came from.
type Query struct {
	packet []byte
	end    int // of the question section

	Type  uint16
	Class uint16
	// EDNS: the client sent an OPT record; Size is what it can take over UDP.
	EDNS    bool
	Size    uint16
	DO      bool
	version uint8

	name    [maxName]byte // in lower case
	nameLen int
}

// Problem is why a packet gets no ordinary answer.
type Problem uint8

// Problems of packets. A Silent one gets no answer at all, since it is none or
// one that is an answer itself; Malformed, Unsupported and Version have codes.
const (
	NoProblem Problem = iota
	Silent
	Malformed
	Unsupported
	Version
)

// Parse reads a packet into q and keeps it. After a Problem other than Silent,
// the query can still be answered with Fail.
func Parse(packet []byte, q *Query) Problem {
	*q = Query{packet: packet}
	if len(packet) < headerSize || packet[2]&0x80 != 0 {
		return Silent
	}
	if packet[2]&0x78 != 0 { // opcode: only QUERY
		return Unsupported
	}
	if binary.BigEndian.Uint16(packet[4:]) != 1 {
		return Malformed
	}
	at, ok := q.parseName(headerSize)
	if !ok || at+4 > len(packet) {
		return Malformed
	}
	q.Type, q.Class = binary.BigEndian.Uint16(packet[at:]), binary.BigEndian.Uint16(packet[at+2:])
	q.end = at + 4
	others := int(binary.BigEndian.Uint16(packet[6:])) + int(binary.BigEndian.Uint16(packet[8:]))
	if others > 0 {
		return NoProblem // not asked of us, and nothing behind it is needed
	}
	if !q.parseExtra(q.end, int(binary.BigEndian.Uint16(packet[10:]))) {
		return Malformed
	}
	if q.version != 0 {
		return Version
	}
	return NoProblem
}

// parseName copies the question's name; pointers have no place there.
func (q *Query) parseName(at int) (end int, ok bool) {
	for {
		if at >= len(q.packet) {
			return 0, false
		}
		l := int(q.packet[at])
		if l > maxLabel || at+1+l > len(q.packet) || q.nameLen+1+l > maxName {
			return 0, false
		}
		copy(q.name[q.nameLen:], q.packet[at:at+1+l])
		q.nameLen += 1 + l
		at += 1 + l
		if l == 0 {
			lower(q.name[:q.nameLen])
			return at, true
		}
	}
}

// parseExtra looks for an OPT record among the additional ones.
func (q *Query) parseExtra(at, count int) bool {
	for range count {
		var ok bool
		if at, ok = skipName(q.packet, at); !ok || at+10 > len(q.packet) {
			return false
		}
		kind := binary.BigEndian.Uint16(q.packet[at:])
		size := binary.BigEndian.Uint16(q.packet[at+2:])
		length := int(binary.BigEndian.Uint16(q.packet[at+8:]))
		if at+10+length > len(q.packet) {
			return false
		}
		if kind == TypeOPT {
			if q.EDNS {
				return false // RFC 6891, 6.1.1: one at most
			}
			q.EDNS, q.Size = true, size
			q.version = q.packet[at+5]
			q.DO = q.packet[at+6]&0x80 != 0
		}
		at += 10 + length
	}
	return true
}

func skipName(packet []byte, at int) (end int, ok bool) {
	for at < len(packet) {
		l := int(packet[at])
		switch {
		case l == 0:
			return at + 1, true
		case l&0xC0 == 0xC0:
			return at + 2, at+2 <= len(packet)
		case l > maxLabel:
			return 0, false
		}
		at += 1 + l
	}
	return 0, false
}

// Name is the question's name in lower case. The slice is the query's own: a map
// is asked with Name(q.NameBytes()) at no cost.
func (q *Query) NameBytes() []byte { return q.name[:q.nameLen] }

// Name is a copy of the name.
func (q *Query) Name() Name { return Name(q.NameBytes()) }

// ID is the client's number for the query.
func (q *Query) ID() uint16 { return binary.BigEndian.Uint16(q.packet) }

// Packet is what was parsed.
func (q *Query) Packet() []byte { return q.packet }

// RecursionDesired and CheckingDisabled are the client's flags.
func (q *Query) RecursionDesired() bool { return q.packet[2]&1 != 0 }
func (q *Query) CheckingDisabled() bool { return q.packet[3]&0x10 != 0 }

// Sizes of UDP answers: without EDNS, and what we take and send at most with it
// (the size that passes everywhere unfragmented, from DNS Flag Day 2020).
const (
	PlainSize = 512
	EDNSSize  = 1232
	TCPSize   = 65535
)

// Limit is how large an answer over UDP may be.
func (q *Query) Limit() int {
	if !q.EDNS {
		return PlainSize
	}
	return min(max(int(q.Size), PlainSize), EDNSSize)
}
