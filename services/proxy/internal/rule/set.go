package rule

import (
	"cmp"
	"hash/maphash"
	"maps"
	"slices"
	"strings"

	"kubus.dev/services/proxy/internal/service"
)

type chainKey struct {
	table Table
	name  string // without prefix
}

func (k chainKey) compare(o chainKey) int {
	return cmp.Or(-cmp.Compare(k.table, o.table), cmp.Compare(k.name, o.name))
}

// Set knows what each chain should hold and what the kernel was last told. It
// is not safe for concurrent use.
//
// Put changes the wish, Delta gives the way there, Commit says that the kernel
// took it. When a Delta failed the kernel is unknown: begin a new Set.
type Set struct {
	opts   Options
	seed   maphash.Seed
	shared map[chainKey]map[service.Name][]string // each Service's lines
	uses   map[service.Name]usage

	stale   map[chainKey]struct{} // shared chains to render
	pending map[chainKey][]string // content to write; nil: remove
	kernel  map[chainKey]content  // what is there
}

// content is a chain's in the kernel. A hash of 0 stands for an unknown one.
type content struct {
	hash  uint64
	rules int
}

// usage is where a Service's rules are.
type usage struct {
	own    []string // nat chains of its own
	shared []chainKey
}

// NewSet gives a Set without Services. Existing names the instance's chains that
// are in the kernel with unknown content, prefix included.
func NewSet(opts Options, existing map[Table][]string) *Set {
	s := &Set{
		opts: opts, seed: maphash.MakeSeed(),
		shared: map[chainKey]map[service.Name][]string{}, uses: map[service.Name]usage{},
		stale: map[chainKey]struct{}{}, pending: map[chainKey][]string{}, kernel: map[chainKey]content{},
	}
	for table, chains := range existing {
		for _, name := range chains {
			key := chainKey{table, strings.TrimPrefix(name, opts.Prefix)}
			s.kernel[key] = content{}
			s.pending[key] = nil
		}
	}
	for key, rules := range opts.base() {
		s.want(key, rules)
	}
	return s
}

// Put replaces all that the Service needs; no ports removes it.
func (s *Set) Put(name service.Name, ports []service.Port) {
	old, now := s.uses[name], usage{}
	lines := map[chainKey][]string{}
	for i := range ports {
		r := s.opts.render(&ports[i])
		for _, c := range r.own {
			now.own = append(now.own, c.name)
			s.want(chainKey{Nat, c.name}, c.rules)
		}
		for _, line := range r.shared {
			key := chainKey{line.table, line.chain}
			lines[key] = append(lines[key], line.rule)
		}
	}
	for _, chain := range old.own {
		if !slices.Contains(now.own, chain) {
			s.pending[chainKey{Nat, chain}] = nil
		}
	}
	for _, key := range old.shared {
		if lines[key] == nil {
			delete(s.shared[key], name)
			s.stale[key] = struct{}{}
		}
	}
	for key, rules := range lines {
		now.shared = append(now.shared, key)
		if s.shared[key] == nil {
			s.shared[key] = map[service.Name][]string{}
		}
		if !slices.Equal(s.shared[key][name], rules) {
			s.shared[key][name] = rules
			s.stale[key] = struct{}{}
		}
	}
	if len(ports) == 0 {
		delete(s.uses, name)
		return
	}
	s.uses[name] = now
}

// want asks for a chain's content; nil rules are an empty chain.
func (s *Set) want(key chainKey, rules []string) {
	if rules == nil {
		rules = []string{}
	}
	s.pending[key] = rules
}

// settle renders the shared chains that changed.
func (s *Set) settle() {
	buckets := false
	for key := range s.stale {
		byService := s.shared[key]
		if isBucket(key) {
			buckets = true
			if len(byService) == 0 {
				delete(s.shared, key)
				s.pending[key] = nil
				continue
			}
		}
		var rules []string
		for _, name := range slices.SortedFunc(maps.Keys(byService), service.Name.Compare) {
			rules = append(rules, byService[name]...)
		}
		if key.name == chainHairpin { // an endpoint of several Services needs one
			slices.Sort(rules)
			rules = slices.Compact(rules)
		}
		s.want(key, rules)
	}
	clear(s.stale)
	if buckets {
		s.dispatch()
	}
}

// dispatch leads to the buckets: from CIP within the service CIDR, else (a
// ClusterIP of a range that is no more) from the top.
func (s *Set) dispatch() {
	var inside, outside []string
	for key := range s.shared {
		if !isBucket(key) {
			continue
		}
		prefix := bucketPrefix(key.name)
		rule := "-d " + prefix.String() + " -j " + s.opts.Prefix + key.name
		if s.opts.serves(prefix.Addr()) {
			inside = append(inside, rule)
		} else {
			outside = append(outside, rule)
		}
	}
	slices.Sort(inside)
	slices.Sort(outside)
	s.want(chainKey{Nat, chainClusterIP}, inside)
	top := chainKey{Nat, chainServices}
	s.want(top, append(outside, s.opts.base()[top]...))
}

func isBucket(key chainKey) bool {
	return key.table == Nat && len(key.name) == 7 && key.name[0] == 'B'
}

// Delta is the input of iptables-restore --noflush that brings the kernel to
// what is wanted; nil when it is there already. Hooks are jumps to add. It also
// says how many chains it writes or removes.
func (s *Set) Delta(hooks []Hook) (input []byte, chains int) {
	s.settle()
	w := writer{prefix: s.opts.Prefix}
	for _, key := range slices.SortedFunc(maps.Keys(s.pending), chainKey.compare) {
		rules := s.pending[key]
		was, there := s.kernel[key]
		if rules == nil && !there || rules != nil && there && was.hash == s.hash(rules) {
			continue
		}
		w.chain(key, rules)
	}
	for _, h := range hooks {
		w.hook(h)
	}
	return w.bytes()
}

// Commit takes the last Delta as done.
func (s *Set) Commit() {
	for key, rules := range s.pending {
		if rules == nil {
			delete(s.kernel, key)
		} else {
			s.kernel[key] = content{s.hash(rules), len(rules)}
		}
	}
	clear(s.pending)
}

// Intact tells whether a table has the chains that were committed, each with as
// many rules; counts has the number of rules of each chain, prefix included, of
// which chains are the names.
func (s *Set) Intact(table Table, chains []string, counts map[string]int) bool {
	own := 0
	for key, c := range s.kernel {
		if key.table == table {
			own++
			if counts[s.opts.Prefix+key.name] != c.rules {
				return false
			}
		}
	}
	return own == len(chains)
}

// hash is never 0, which stands for unknown content.
func (s *Set) hash(rules []string) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	for _, r := range rules {
		h.WriteString(r)
		h.WriteByte('\n')
	}
	return max(h.Sum64(), 1)
}
