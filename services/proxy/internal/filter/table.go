package filter

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"kubus.dev/services/proxy/internal/policy"
)

// Names of the chains that hooks lead to, and of what they look up, by direction.
var (
	Base    = [2]string{policy.Ingress: "ingress", policy.Egress: "egress"}
	lookups = [2]string{policy.Ingress: "to", policy.Egress: "from"}
	short   = [2]string{policy.Ingress: "in", policy.Egress: "out"}
	own     = [2]string{policy.Ingress: "ip daddr", policy.Egress: "ip saddr"} // of the pod that is isolated
	peers   = [2]string{policy.Ingress: "ip saddr", policy.Egress: "ip daddr"} // of the other end
)

// Table keeps what the table of one node should hold. It is not safe for concurrent use.
type Table struct {
	*content
	cluster *policy.Cluster
	node    string
	ranges  []netip.Prefix // of this node's pods

	self    *Set
	dns     *Set
	servers []policy.Server
	lookup  [2]*Set
	pods    map[netip.Addr]*local
	groups  map[string]int // local pods by chain
	active  map[slot]*part
}

// local is what is kept of one on this node.
type local struct {
	policies [2][]policy.Name
	group    [2]string // empty: not isolated
}

// slot is a direction of a policy.
type slot struct {
	policy.Name
	policy.Direction
}

// part is a slot that some local pod needs.
type part struct {
	uses  int // local pods
	chain string
	rules []*ruleSets
	sets  []*Set
}

// ruleSets are the sets of one rule that follow the pods; nil where it needs none.
type ruleSets struct {
	rule       *policy.Rule
	pods       *Set
	named      *Set
	namedPorts []policy.Port
	keys       map[netip.Addr][]string // in named
}

// NewTable gives a node's, with no object known.
func NewTable(node string) *Table {
	c := newContent()
	t := &Table{content: &c, cluster: policy.NewCluster(), node: node,
		pods: map[netip.Addr]*local{}, groups: map[string]int{}, active: map[slot]*part{}}
	t.self = t.set("self", Pairs, false, false)
	t.dns = t.set("dns", Ends, false, false)
	for _, d := range policy.Directions {
		t.lookup[d] = t.set(lookups[d], Addresses, false, true)
	}
	t.base()
	return t
}

// WithoutPods gives a table that was told what t was, but of no pod and no namespace, and
// that nothing is in the kernel of.
func (t *Table) WithoutPods() *Table {
	out := NewTable(t.node)
	out.SetRanges(t.ranges)
	out.SetDNS(t.servers)
	for name, p := range t.cluster.AllPolicies() {
		out.SetPolicy(name, p)
	}
	return out
}

// base writes the chains of the hooks.
func (t *Table) base() {
	for _, d := range policy.Directions {
		rules := []string{
			"ct state established,related accept",
			"ip saddr . ip daddr @self accept",
		}
		if d == policy.Egress {
			rules = append(rules, "ip daddr . meta l4proto . th dport @dns accept")
		}
		rules = append(rules, own[d]+" vmap @"+lookups[d])
		for _, r := range t.ranges {
			rules = append(rules, own[d]+" "+r.String()+` drop comment "a pod that is not known yet"`)
		}
		t.chain(Base[d], rules)
	}
}

// Wanted tells whether there is anything to enforce.
func (t *Table) Wanted() bool { return t.cluster.Policies() > 0 }

// Policies is how many there are.
func (t *Table) Policies() int { return t.cluster.Policies() }

// Delta is what must be written since the last Commit.
func (t *Table) Delta() *Delta { return t.delta() }

// Commit says that the last Delta was written.
func (t *Table) Commit() { t.commit() }

// Forget says that the kernel holds nothing: the next Delta is everything.
func (t *Table) Forget() { t.forget() }

// Count is what the kernel holds, if nobody changed it.
func (t *Table) Count() Count { return t.count() }

// SetRanges tells where this node's pods have their addresses.
func (t *Table) SetRanges(ranges []netip.Prefix) {
	if !slices.Equal(t.ranges, ranges) {
		t.ranges = ranges
		t.base()
	}
}

// SetDNS tells where the cluster's DNS answers, where that is no pod's address.
func (t *Table) SetDNS(servers []policy.Server) {
	for _, s := range t.servers {
		t.remove(t.dns, s.String())
	}
	for _, s := range servers {
		t.put(t.dns, s.String(), "")
	}
	t.servers = servers
	t.cluster.SetDNS(servers)
}

// SetPod tells of a pod; nil when it is gone.
func (t *Table) SetPod(name policy.Name, p *policy.Pod) {
	for _, addr := range t.cluster.SetPod(name, p) {
		t.refresh(addr)
	}
}

// SetNamespace tells of a namespace's labels; false when it is gone.
func (t *Table) SetNamespace(name string, set labels.Set, there bool) {
	if !t.cluster.SetNamespace(name, set, there) {
		return
	}
	for addr := range t.cluster.Inside(name) {
		t.refresh(addr)
	}
}

// SetPolicy tells of a policy; nil when it is gone.
func (t *Table) SetPolicy(name policy.Name, p *policy.Policy) {
	t.cluster.SetPolicy(name, p)
	var before [2]*part
	for _, d := range policy.Directions {
		before[d] = t.active[slot{name, d}]
	}
	for addr := range t.cluster.Inside(name.Namespace) {
		t.isolate(addr)
	}
	for _, d := range policy.Directions { // those that still have pods say something else now
		if part := t.active[slot{name, d}]; part != nil && part == before[d] {
			t.discard(part)
			t.fill(slot{name, d}, part)
		}
	}
}

// refresh looks again at an address: whose it is, and what that pod is among.
func (t *Table) refresh(addr netip.Addr) {
	t.isolate(addr)
	p := t.cluster.At(addr)
	for s, part := range t.active {
		for _, r := range part.rules {
			t.follow(s, r, addr, p)
		}
	}
}

// isolate says which policies hold for an address, if it is a pod's of this node.
func (t *Table) isolate(addr netip.Addr) {
	p, key := t.cluster.At(addr), addr.String()
	old := t.pods[addr]
	if p == nil || p.Node != t.node {
		if old != nil {
			delete(t.pods, addr)
			t.remove(t.self, key+" . "+key)
			for _, d := range policy.Directions {
				t.remove(t.lookup[d], key)
				t.leave(old.group[d])
				t.release(old.policies[d], d)
			}
		}
		return
	}
	now := &local{}
	t.pods[addr] = now
	t.put(t.self, key+" . "+key, "")
	for _, d := range policy.Directions {
		for _, selected := range t.cluster.Selecting(p, d) {
			now.policies[d] = append(now.policies[d], selected.Name)
		}
		for _, name := range now.policies[d] {
			t.use(slot{name, d})
		}
		now.group[d] = t.join(d, now.policies[d])
		verdict := "accept"
		if now.group[d] != "" {
			verdict = "goto " + now.group[d]
		}
		t.put(t.lookup[d], key, verdict)
		if old != nil {
			t.leave(old.group[d])
			t.release(old.policies[d], d)
		}
	}
}

// join counts a pod into the group of those that the same policies isolate.
func (t *Table) join(d policy.Direction, names []policy.Name) string {
	if len(names) == 0 {
		return ""
	}
	text := ""
	rules := make([]string, 0, len(names)+1)
	for _, name := range names {
		text += name.String() + "\n"
		rules = append(rules, "jump "+chainOf(slot{name, d}))
	}
	group := short[d] + "-of-" + hash(text)
	if t.groups[group]++; t.groups[group] == 1 {
		t.chain(group, append(rules, "drop"))
	}
	return group
}

func (t *Table) leave(group string) {
	if group == "" {
		return
	}
	if t.groups[group]--; t.groups[group] == 0 {
		delete(t.groups, group)
		t.chain(group, nil)
	}
}

func (t *Table) use(s slot) {
	p := t.active[s]
	if p == nil {
		p = &part{chain: chainOf(s)}
		t.active[s] = p
		t.fill(s, p)
	}
	p.uses++
}

func (t *Table) release(names []policy.Name, d policy.Direction) {
	for _, name := range names {
		s := slot{name, d}
		p := t.active[s]
		if p.uses--; p.uses == 0 {
			delete(t.active, s)
			t.discard(p)
			t.chain(p.chain, nil)
		}
	}
}

// discard takes away a part's sets.
func (t *Table) discard(p *part) {
	for _, s := range p.sets {
		t.drop(s)
	}
	p.sets, p.rules = nil, nil
}

// fill makes the rules of a policy, and the sets that they need. Sets are named after what
// they are for, so that a policy that changes keeps those that it still needs.
func (t *Table) fill(s slot, p *part) {
	name := func(i int, what string) string { return fmt.Sprintf("%s-%d-%s", p.chain, i, what) }
	makeSet := func(i int, what string, kind Kind, ranges bool) *Set {
		set := t.set(name(i, what), kind, ranges, false)
		p.sets = append(p.sets, set)
		return set
	}
	lines := []string{}
	of := t.cluster.Policy(s.Name)
	for i := range of.Rules[s.Direction] {
		rule := &of.Rules[s.Direction][i]
		r := &ruleSets{rule: rule, keys: map[netip.Addr][]string{}}
		var who []string // forms of peers
		if rule.Anyone {
			who = append(who, "")
		}
		if slices.ContainsFunc(rule.Peers, func(p policy.Peer) bool { return p.Block == nil }) {
			r.pods = makeSet(i, "p", Addresses, false)
			who = append(who, peers[s.Direction]+" @"+r.pods.Name+" ")
		}
		if ranges := blocks(rule.Peers); len(ranges) > 0 {
			set := makeSet(i, "b", Addresses, true)
			for _, r := range ranges {
				t.put(set, r, "")
			}
			who = append(who, peers[s.Direction]+" @"+set.Name+" ")
		}
		r.namedPorts = slices.DeleteFunc(slices.Clone(rule.Ports), func(p policy.Port) bool { return p.Name == "" })
		if len(r.namedPorts) > 0 {
			r.named = makeSet(i, "n", Ends, false)
		}
		for _, w := range who {
			lines = append(lines, t.lines(s, i, w, r)...)
		}
		p.rules = append(p.rules, r)
	}
	t.chain(p.chain, lines)
	for addr, pod := range t.cluster.All() {
		for _, r := range p.rules {
			t.follow(s, r, addr, pod)
		}
	}
}

// lines are the rules for one form of peers.
func (t *Table) lines(s slot, i int, who string, r *ruleSets) []string {
	verdict := fmt.Sprintf("accept comment %q", cut(fmt.Sprintf("%s %s %d", s.Name, s.Direction, i)))
	if r.rule.All {
		return []string{who + verdict}
	}
	var out []string
	numbers := ports(r.rule.Ports)
	for _, protocol := range []policy.Protocol{policy.TCP, policy.UDP, policy.SCTP} {
		list, any := numbers[protocol]
		switch {
		case !any:
		case list == nil:
			out = append(out, fmt.Sprintf("%smeta l4proto %s %s", who, protocol, verdict))
		default:
			out = append(out, fmt.Sprintf("%smeta l4proto %s th dport { %s } %s", who, protocol, joined(list), verdict))
		}
	}
	if r.named != nil {
		out = append(out, fmt.Sprintf("%sip daddr . meta l4proto . th dport @%s %s", who, r.named.Name, verdict))
	}
	return out
}

// follow says whether the pod that has an address is in a rule's sets; nil: none has it.
func (t *Table) follow(s slot, r *ruleSets, addr netip.Addr, p *policy.Pod) {
	end := policy.End{Addr: addr, Pod: p}
	if r.pods != nil {
		if p != nil && t.cluster.Selected(r.rule, s.Namespace, p) {
			t.put(r.pods, addr.String(), "")
		} else {
			t.remove(r.pods, addr.String())
		}
	}
	if r.named == nil {
		return
	}
	for _, key := range r.keys[addr] {
		t.remove(r.named, key)
	}
	delete(r.keys, addr)
	receives := p != nil
	switch {
	case !receives:
	case s.Direction == policy.Ingress:
		receives = p.Node == t.node && p.Namespace == s.Namespace
	default:
		receives = t.cluster.Among(r.rule, s.Namespace, end)
	}
	if !receives {
		return
	}
	for _, port := range r.namedPorts {
		if number, ok := p.Port(port.Name, port.Protocol); ok {
			key := fmt.Sprintf("%s . %s . %d", addr, port.Protocol, number)
			t.put(r.named, key, "")
			r.keys[addr] = append(r.keys[addr], key)
		}
	}
}

func chainOf(s slot) string { return short[s.Direction] + "-" + hash(s.Name.String()) }

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// cut keeps a comment within what nft takes.
func cut(text string) string {
	const most = 120
	if len(text) > most {
		return text[:most]
	}
	return text
}

func joined(list []string) string {
	out := ""
	for i, s := range list {
		if i > 0 {
			out += ", "
		}
		out += s
	}
	return out
}
