package rule

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
)

// Options never change while a Set lives.
type Options struct {
	Prefix       string         // from Prefix
	ServiceCIDRs []netip.Prefix // IPv4
	PodCIDR      netip.Prefix   // invalid: unknown
	MarkBit      uint           // of the packet mark: "masquerade this"; 0-31
	Affinity     bool           // the kernel has the recent match
}

// Prefix is what all chains of an instance start with. Purging an instance
// removes exactly the chains that start so.
func Prefix(instance string) string {
	sum := sha256.Sum256([]byte(instance))
	return "KB-" + hex.EncodeToString(sum[:3]) + "-"
}

func (o *Options) mark() string { return fmt.Sprintf("%#x", 1<<o.MarkBit) }

func (o *Options) markMatch() string { return o.mark() + "/" + o.mark() }

// serves tells whether addr is in the range of ClusterIPs.
func (o *Options) serves(addr netip.Addr) bool {
	return slices.ContainsFunc(o.ServiceCIDRs, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// The chains that are always there, without their prefix.
const (
	chainServices  = "SVC"
	chainClusterIP = "CIP"
	chainExternal  = "EXT"
	chainNodePort  = "NP"
	chainMark      = "MARK"
	chainPost      = "POST"
	chainHairpin   = "HP"

	chainReject  = "REJ"
	chainInput   = "IN"
	chainForward = "FWD"
	chainOutput  = "OUT"
)

// Table is an iptables table.
type Table string

// The tables used.
const (
	Nat    Table = "nat"
	Filter Table = "filter"
)

// Tables lists them in the order a sync writes them.
var Tables = []Table{Nat, Filter}

// Hook is a jump from a chain of the kernel's to one of ours.
type Hook struct {
	Table  Table
	Parent string
	Chain  string // full name
	Moved  bool   // it is there, but not first: take it away before
}

// Rule is the hook as a rule specification of iptables-save, without -A.
func (h Hook) Rule() string { return h.Parent + " -j " + h.Chain }

// Hooks lists the jumps that must be there, first in their parents.
func (o *Options) Hooks() []Hook {
	h := func(t Table, parent, chain string) Hook {
		return Hook{Table: t, Parent: parent, Chain: o.Prefix + chain}
	}
	return []Hook{
		h(Nat, "PREROUTING", chainServices), h(Nat, "OUTPUT", chainServices), h(Nat, "POSTROUTING", chainPost),
		h(Filter, "INPUT", chainInput), h(Filter, "FORWARD", chainForward), h(Filter, "OUTPUT", chainOutput),
	}
}

// portHash names the chains of one port: 16 characters, so that a chain name
// stays within the kernel's 28.
func portHash(service, port, protocol string) string {
	sum := sha256.Sum256([]byte(service + ":" + port + "/" + protocol))
	return base32.StdEncoding.EncodeToString(sum[:10])
}
