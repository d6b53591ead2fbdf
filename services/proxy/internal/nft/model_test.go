package nft_test

import (
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"

	"kubus.dev/services/proxy/internal/filter"
	"kubus.dev/services/proxy/internal/lab"
	"kubus.dev/services/proxy/internal/nft"
	"kubus.dev/services/proxy/internal/policy"
	"kubus.dev/services/proxy/internal/policytest"
)

var (
	seeds = flag.Int("policy.seeds", 10, "how many random clusters are tried with packets")
	first = flag.Uint64("policy.first", 1, "the first one's seed")
)

// model is a cluster in namespaces: what a world says of pods is there, with servers.
type model struct {
	t       *testing.T
	seed    uint64
	world   *policytest.World
	nodes   *lab.Nodes
	pods    map[string]*lab.Namespace // by address
	known   policytest.World          // what the tables were told
	tables  []*filter.Table
	kernels []*nft.Table
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{t: t, seed: seed, world: policytest.Random(seed, 3, 7), nodes: lab.NewNodes(t, 3), pods: map[string]*lab.Namespace{}}
	m.known = policytest.World{}
	for i, name := range m.world.Nodes {
		table := filter.NewTable(name)
		table.SetRanges([]netip.Prefix{netip.MustParsePrefix(policytest.NodeRange(i))})
		m.tables = append(m.tables, table)
		m.kernels = append(m.kernels, nft.New("KB-test-policy", nil))
	}
	m.serve(m.nodes.Stranger)
	for _, n := range m.nodes.Node {
		m.serve(n)
	}
	return m
}

func (m *model) serve(n *lab.Namespace) {
	ports := map[int32]bool{}
	for _, p := range policytest.Ports {
		if !ports[p.Number] {
			ports[p.Number] = true
			n.Serve("x", int(p.Number))
		}
	}
}

// tell brings packets' world and the tables to what the objects say.
func (m *model) tell() {
	m.t.Helper()
	w := m.world
	there := map[string]bool{}
	for name, p := range w.Pods {
		there[p.Status.PodIP] = true
		if m.pods[p.Status.PodIP] == nil {
			node := 0
			for i, n := range w.Nodes {
				if n == p.Spec.NodeName {
					node = i
				}
			}
			m.pods[p.Status.PodIP] = m.nodes.Pod(node, p.Status.PodIP)
			m.serve(m.pods[p.Status.PodIP])
		}
		if m.known.Pods[name] != p {
			for _, t := range m.tables {
				t.SetPod(nameOf(name), policy.FromPod(p))
			}
		}
	}
	for name := range m.known.Pods {
		if w.Pods[name] == nil {
			for _, t := range m.tables {
				t.SetPod(nameOf(name), nil)
			}
		}
	}
	for address, n := range m.pods {
		if !there[address] {
			n.Unplug()
			delete(m.pods, address)
		}
	}
	for name, obj := range w.Namespaces {
		for _, t := range m.tables {
			t.SetNamespace(name, obj.Labels, true)
		}
	}
	for name, obj := range w.Policies {
		if m.known.Policies[name] != obj {
			for _, t := range m.tables {
				p, _ := policy.FromObject(obj)
				t.SetPolicy(nameOf(name), p)
			}
		}
	}
	for name := range m.known.Policies {
		if w.Policies[name] == nil {
			for _, t := range m.tables {
				t.SetPolicy(nameOf(name), nil)
			}
		}
	}
	m.known.Pods, m.known.Policies = maps.Clone(w.Pods), maps.Clone(w.Policies)
}

// write brings the kernels to what the tables say, whole or by what changed.
func (m *model) write(whole bool) {
	m.t.Helper()
	for i, table := range m.tables {
		m.nodes.Node[i].Do(func() {
			ctx, kernel := m.t.Context(), m.kernels[i]
			var err error
			switch {
			case !table.Wanted():
				table.Forget()
				err = kernel.Remove(ctx)
			case whole || len(table.Count().Rules) == 0:
				table.Forget()
				err = kernel.Replace(ctx, table.Delta())
				table.Commit()
			default:
				err = kernel.Apply(ctx, table.Delta())
				table.Commit()
			}
			if err != nil {
				panic(err)
			}
			count, found, err := kernel.Count(ctx)
			if want := table.Count(); err != nil || found != table.Wanted() || found && !count.Equal(want) {
				panic(fmt.Sprintf("seed %d: the kernel holds %v, %v, %v, want %v", m.seed, count, found, err, want))
			}
		})
	}
}

// check tries every pair and port.
func (m *model) check(story string) {
	m.t.Helper()
	for _, n := range m.nodes.Node { // a flow that is known goes on, and a port may be used again
		n.Do(func() {
			if err := netlink.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
				panic(err)
			}
		})
	}
	ends := map[string]*lab.Namespace{policytest.Stranger: m.nodes.Stranger, policytest.NodeAddress(0): m.nodes.Node[0]}
	maps.Copy(ends, m.pods)
	var wait sync.WaitGroup
	var mu sync.Mutex
	var wrong []string
	for from, n := range ends {
		var tries []lab.Try
		for to := range ends {
			for _, port := range policytest.Ports {
				tries = append(tries, lab.Try{Network: strings.ToLower(string(port.Protocol)), Address: to, Port: int(port.Number), Answers: m.world.Allowed(from, to, port)})
			}
		}
		wait.Go(func() {
			for _, text := range n.Probe(tries) {
				mu.Lock()
				wrong = append(wrong, from+" to "+text)
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	if len(wrong) > 0 {
		m.t.Fatalf("seed %d, after %s: otherwise than the objects say (-policy.first %d -policy.seeds 1):\n%s", m.seed, story, m.seed, strings.Join(wrong, "\n"))
	}
}

func nameOf(text string) policy.Name {
	namespace, name, _ := strings.Cut(text, "/")
	return policy.Name{Namespace: namespace, Name: name}
}

func TestPacketsGoWhereTheObjectsSay(t *testing.T) {
	for i := range *seeds {
		seed := *first + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := newModel(t, seed)
			m.tell()
			m.write(true)
			m.check("the start")
			for range 3 {
				story := m.world.Change()
				m.tell()
				m.write(false)
				m.check(story)
			}
			m.write(true)
			m.check("all was written anew")
		})
	}
}
