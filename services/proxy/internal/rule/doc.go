// Package rule turns ports of Services into iptables chains. It is pure: no
// clock, no kernel, and the same input gives the same bytes.
//
// Start with Options (what never changes while the proxy runs) and Set (what
// the kernel holds, and what it ought to hold). A Set gives the difference as
// the input of one `iptables-restore --noflush`; only chains whose content
// changed are in it.
//
// Where a packet goes:
//
//	nat PREROUTING, OUTPUT -> SVC
//	    -d service CIDR        -> CIP -> B<x> (one /24 of it) -> S<port> or L<port>
//	    -d external address    -> EXT -> X<port> or F<port>
//	    local address          -> NP  -> X<port>
//	S<port>  all endpoints      \ one DNAT rule an endpoint; random by the
//	L<port>  this node's         / statistic module, after affinity's
//	X<port>  from outside: masquerade, then S, or L with its policy
//	F<port>  a balancer's source ranges, then X
//	nat POSTROUTING -> POST: hairpins (HP) and marked packets are masqueraded
//	filter INPUT -> IN, FORWARD -> FWD, OUTPUT -> OUT: external addresses without
//	    endpoints (REJ); anything still addressed to the service CIDR is refused
//
// A packet that matched a Service has another destination by the time it comes
// to the filter table, so the one rule on the service CIDR covers Services
// without endpoints, ports no Service has and addresses no Service owns.
//
// Every chain name starts with the instance's prefix, so that several proxies
// live side by side.
package rule
