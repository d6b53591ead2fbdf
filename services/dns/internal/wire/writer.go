package wire

import (
	"encoding/binary"
	"net/netip"
)

// Writer builds one answer behind what is in its buffer already. Records are
// added in the order of the sections: answers, authority, additional. What does
// not fit sets the truncation flag (in the additional section it is left out).
type Writer struct {
	buf   []byte
	start int
	limit int // length of buf not to be exceeded
	query *Query
	flags uint16

	section int // 0 answer, 1 authority, 2 additional
	counts  [3]uint16
}

const (
	flagAnswer    = 1 << 15
	flagAuthority = 1 << 10
	flagTruncated = 1 << 9
	flagRecursion = 1 << 8
	flagAvailable = 1 << 7
	flagNoCheck   = 1 << 4

	optSize = 11
)

// Start begins the answer to q, behind dst. limit is the size of the answer
// alone. recursion: names of other zones can be asked here, too.
func (w *Writer) Start(dst []byte, q *Query, limit int, recursion bool) {
	*w = Writer{buf: dst, start: len(dst), limit: len(dst) + limit, query: q, flags: flagAnswer}
	if q.EDNS {
		w.limit -= optSize
	}
	if q.RecursionDesired() {
		w.flags |= flagRecursion
	}
	if q.CheckingDisabled() {
		w.flags |= flagNoCheck
	}
	if recursion {
		w.flags |= flagAvailable
	}
	w.buf = append(w.buf, q.packet[:headerSize]...)
	w.buf = append(w.buf, q.packet[headerSize:max(q.end, headerSize)]...)
}

// Authoritative marks an answer from our own zone.
func (w *Writer) Authoritative() { w.flags |= flagAuthority }

// Truncated tells whether something was left out that matters.
func (w *Writer) Truncated() bool { return w.flags&flagTruncated != 0 }

// Additional says that the records that follow are not asked for.
func (w *Writer) Additional() { w.section = 2 }

// Authority says that the records that follow are about the zone.
func (w *Writer) Authority() { w.section = 1 }

// Finish completes the answer with a code and gives dst with it appended.
func (w *Writer) Finish(code int) []byte {
	if w.query.EDNS {
		w.section = 2
		w.buf = append(w.buf, 0, 0, TypeOPT, EDNSSize>>8, EDNSSize&0xff, byte(code>>4), 0, 0, 0, 0, 0)
		if w.query.DO {
			w.buf[len(w.buf)-4] = 0x80
		}
		w.counts[2]++
	}
	head := w.buf[w.start:]
	binary.BigEndian.PutUint16(head[2:], w.flags|uint16(code&15))
	questions := uint16(0)
	if w.query.end > 0 {
		questions = 1
	}
	binary.BigEndian.PutUint16(head[4:], questions)
	for i, n := range w.counts {
		binary.BigEndian.PutUint16(head[6+2*i:], n)
	}
	return w.buf
}

// Asked, as an owner, is the name in the question, as the client wrote it.
const Asked = Name("\xC0\x0C")

// record appends an owner and the fixed part; end must follow when it gives true.
func (w *Writer) record(owner Name, kind uint16, ttl uint32, length int) bool {
	if w.Truncated() {
		return false
	}
	if len(w.buf)+len(owner)+10+length > w.limit {
		if w.section != 2 {
			w.flags |= flagTruncated
		}
		return false
	}
	w.buf = append(w.buf, owner...)
	w.buf = binary.BigEndian.AppendUint16(w.buf, kind)
	w.buf = binary.BigEndian.AppendUint16(w.buf, ClassIN)
	w.buf = binary.BigEndian.AppendUint32(w.buf, ttl)
	w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(length))
	w.counts[w.section]++
	return true
}

// Address adds an A or AAAA record.
func (w *Writer) Address(owner Name, addr netip.Addr, ttl uint32) {
	if addr.Is4() {
		if w.record(owner, TypeA, ttl, 4) {
			b := addr.As4()
			w.buf = append(w.buf, b[:]...)
		}
		return
	}
	if w.record(owner, TypeAAAA, ttl, 16) {
		b := addr.As16()
		w.buf = append(w.buf, b[:]...)
	}
}

// Service adds an SRV record; its target is not compressed (RFC 2782).
func (w *Writer) Service(owner Name, priority, weight, port uint16, target Name, ttl uint32) {
	if w.record(owner, TypeSRV, ttl, 6+len(target)) {
		w.buf = binary.BigEndian.AppendUint16(w.buf, priority)
		w.buf = binary.BigEndian.AppendUint16(w.buf, weight)
		w.buf = binary.BigEndian.AppendUint16(w.buf, port)
		w.buf = append(w.buf, target...)
	}
}

// Target adds a CNAME, NS or PTR record.
func (w *Writer) Target(owner Name, kind uint16, target Name, ttl uint32) {
	if w.record(owner, kind, ttl, len(target)) {
		w.buf = append(w.buf, target...)
	}
}

// Text adds a TXT record of one string, at most 255 bytes of it.
func (w *Writer) Text(owner Name, text string, ttl uint32) {
	text = text[:min(len(text), 255)]
	if w.record(owner, TypeTXT, ttl, 1+len(text)) {
		w.buf = append(w.buf, byte(len(text)))
		w.buf = append(w.buf, text...)
	}
}

// SOA is the start of authority of a zone.
type SOA struct {
	Zone, Server, Mailbox Name
	Serial                uint32
	TTL                   uint32 // also of negative answers
}

// The timers of an SOA that no secondary server reads here.
const (
	soaRefresh = 7200
	soaRetry   = 1800
	soaExpire  = 86400
)

// Start of authority: adds an SOA record.
func (w *Writer) SOA(s *SOA) {
	if w.record(s.Zone, TypeSOA, s.TTL, len(s.Server)+len(s.Mailbox)+20) {
		w.buf = append(append(w.buf, s.Server...), s.Mailbox...)
		for _, v := range []uint32{s.Serial, soaRefresh, soaRetry, soaExpire, s.TTL} {
			w.buf = binary.BigEndian.AppendUint32(w.buf, v)
		}
	}
}

// Fail answers a query that has a Problem, or any query, with a code alone.
func Fail(dst []byte, q *Query, code int, recursion bool) []byte {
	var w Writer
	w.Start(dst, q, TCPSize, recursion)
	if q.end == 0 { // the question could not be read: answer without one
		w.buf = w.buf[:w.start+headerSize]
	}
	return w.Finish(code)
}

// Code is the response code of a problem.
func (p Problem) Code() int {
	switch p {
	case Unsupported:
		return NotImplemented
	case Version:
		return BadVersion
	}
	return FormatError
}
