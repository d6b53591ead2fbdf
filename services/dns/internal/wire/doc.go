// Package wire reads DNS queries and writes answers as packets, without
// allocating. It knows what a resolver asks and what a zone of addresses
// answers; messages of other servers are read with miekg/dns.
//
// Start with Parse and Query, Name, and Writer. A packet can hold anything:
// Parse never panics and never reads beyond it.
package wire

// Types, classes and response codes that are used here (RFC 1035, 2782, 6891).
const (
	TypeA     = 1
	TypeNS    = 2
	TypeCNAME = 5
	TypeSOA   = 6
	TypePTR   = 12
	TypeTXT   = 16
	TypeAAAA  = 28
	TypeSRV   = 33
	TypeOPT   = 41
	TypeIXFR  = 251
	TypeAXFR  = 252
	TypeANY   = 255

	ClassIN  = 1
	ClassANY = 255

	Success        = 0
	FormatError    = 1
	ServerFailure  = 2
	NameError      = 3
	NotImplemented = 4
	Refused        = 5
	BadVersion     = 16
)
