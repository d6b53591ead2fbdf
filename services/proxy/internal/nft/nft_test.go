package nft_test

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/labels"

	"kubus.dev/services/proxy/internal/filter"
	"kubus.dev/services/proxy/internal/lab"
	"kubus.dev/services/proxy/internal/nft"
	"kubus.dev/services/proxy/internal/policy"
)

func TestWithoutTheProgramAPolicyIsAnErrorThatSaysWhatToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	table := nft.New("KB-test-policy", nil)
	if err := table.Replace(t.Context(), filter.NewTable("here").Delta()); !errors.Is(err, nft.ErrMissing) {
		t.Errorf("writing: %v", err)
	}
	if err := table.Remove(t.Context()); err != nil {
		t.Errorf("removing what cannot be there: %v", err)
	}
}

// two is a node with two pods, a and b, and a table that denies b everything.
type two struct {
	*lab.Nodes
	a, b   *lab.Namespace
	table  *filter.Table
	kernel *nft.Table
}

const addressA, addressB = "10.244.1.2", "10.244.1.3"

func newTwo(t *testing.T) *two {
	n := &two{Nodes: lab.NewNodes(t, 1), table: filter.NewTable("node-0"), kernel: nft.New("KB-test-policy", nil)}
	n.a, n.b = n.Pod(0, addressA), n.Pod(0, addressB)
	n.b.Serve("b", 80)
	n.table.SetRanges([]netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")})
	n.know("a", addressA)
	n.know("b", addressB)
	deny := nameOf("red/deny")
	n.table.SetPolicy(deny, &policy.Policy{Name: deny, Selects: labels.SelectorFromSet(labels.Set{"name": "b"}), Isolates: [2]bool{true, true}})
	return n
}

func (n *two) know(name, address string) {
	n.table.SetPod(nameOf("red/"+name), &policy.Pod{Name: nameOf("red/" + name), Labels: labels.Set{"name": name}, Node: "node-0", Addr: netip.MustParseAddr(address)})
}

// write replaces the whole table.
func (n *two) write(t *testing.T) {
	t.Helper()
	n.Node[0].Do(func() {
		n.table.Forget()
		if err := n.kernel.Replace(t.Context(), n.table.Delta()); err != nil {
			panic(err)
		}
		n.table.Commit()
	})
}

func TestNoPacketPassesWhileATableIsReplaced(t *testing.T) {
	n := newTwo(t)
	n.write(t)
	var came atomic.Int64
	n.b.Do(func() {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 7})
		if err != nil {
			panic(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		go func() {
			buf := make([]byte, 16)
			for {
				if _, _, err := c.ReadFromUDP(buf); err != nil {
					return
				}
				came.Add(1)
			}
		}()
	})
	sent, stop, done := 0, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		n.a.Do(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := net.Dial("udp4", addressB+":7") // each time another flow
				if err != nil {
					panic(err)
				}
				_, _ = c.Write([]byte("?"))
				_ = c.Close()
				sent++
			}
		})
	}()
	for range 20 {
		n.write(t)
	}
	close(stop)
	<-done
	if got := came.Load(); got > 0 || sent == 0 {
		t.Errorf("%d of %d packets passed", got, sent)
	}
	// It could have been seen: without the table they pass.
	n.Node[0].Do(func() {
		if err := n.kernel.Remove(t.Context()); err != nil {
			panic(err)
		}
	})
	if wrong := n.a.Probe([]lab.Try{{Network: "udp", Address: addressB, Port: 80, Answers: true}}); len(wrong) > 0 {
		t.Error(wrong)
	}
}

func TestAPodThatIsNotKnownYetIsClosed(t *testing.T) {
	n := newTwo(t)
	c := n.Pod(0, "10.244.1.4")
	c.Serve("c", 80)
	n.write(t)
	tries := func(to string, answers bool) []lab.Try {
		return []lab.Try{{Network: "tcp", Address: to, Port: 80, Answers: answers}, {Network: "udp", Address: to, Port: 80, Answers: answers}}
	}
	n.Stranger.Serve("stranger", 80)
	for _, wrong := range [][]string{n.a.Probe(tries("10.244.1.4", false)), c.Probe(tries("192.0.2.254", false)), n.Stranger.Probe(tries("10.244.1.4", false))} {
		if len(wrong) > 0 {
			t.Errorf("before it is known: %v", wrong)
		}
	}
	if wrong := n.Node[0].Probe(tries("10.244.1.4", true)); len(wrong) > 0 {
		t.Errorf("its node: %v", wrong)
	}
	n.know("c", "10.244.1.4")
	n.Node[0].Do(func() {
		if err := n.kernel.Apply(t.Context(), n.table.Delta()); err != nil {
			panic(err)
		}
		n.table.Commit()
	})
	for _, wrong := range [][]string{n.a.Probe(tries("10.244.1.4", true)), c.Probe(tries("192.0.2.254", true)), n.Stranger.Probe(tries("10.244.1.4", true))} {
		if len(wrong) > 0 {
			t.Errorf("when it is known: %v", wrong)
		}
	}
}
