package instance

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
)

// Node is one node of an instance: what the configuration of its agent and its proxy
// follows from. Nothing in them depends on where the node is.
type Node struct {
	Name string
	IP   string
	// ID tells the node's bridges, chains, cgroups and mounts from others'.
	ID     string
	Dir    string // of its data
	RunDir string // for what must not outlive a boot
	// Namespaces is the directory with the node's own network and UTS namespace, net and
	// uts; empty: the machine's.
	Namespaces string
	// Number is its place among the instance's nodes: 1 is the machine itself.
	Number int
}

// Own tells whether the node has namespaces of its own.
func (n Node) Own() bool { return n.Namespaces != "" }

// Path joins names to the node's data directory.
func (n Node) Path(names ...string) string {
	return filepath.Join(append([]string{n.Dir}, names...)...)
}

// Further is a node beside the first.
type Further struct {
	Name   string `json:"name"`
	Number int    `json:"number"` // its address is the one of this number; never given twice while the node is there
}

// MaxNodes is how many nodes a machine can be: what the range of their addresses holds.
const MaxNodes = 250

// Machine is the first node: the machine itself, in the namespaces that it has.
func (i *Instance) Machine() Node {
	return Node{Name: i.NodeName, IP: i.NodeIP, ID: i.ID, Dir: i.Dir, RunDir: i.HostRunDir(), Number: 1}
}

// AllNodes lists the nodes, the machine first.
func (i *Instance) AllNodes() []Node {
	if i.Nodes == 0 {
		return nil
	}
	return append([]Node{i.Machine()}, i.FurtherNodes()...)
}

// FurtherNodes lists the nodes that have namespaces of their own.
func (i *Instance) FurtherNodes() []Node {
	var out []Node
	for _, f := range i.Further {
		id := fmt.Sprintf("%s-%d", i.ID, f.Number)
		out = append(out, Node{
			Name: f.Name, IP: i.nodeNetworkIP(f.Number), ID: id, Dir: i.Path("nodes", f.Name), Number: f.Number,
			RunDir: filepath.Join(HostRun, id), Namespaces: filepath.Join(HostRun, id+"-ns"),
		})
	}
	return out
}

// NodeNames lists the names of all nodes.
func (i *Instance) NodeNames() []string {
	var names []string
	for _, n := range i.AllNodes() {
		names = append(names, n.Name)
	}
	return names
}

// AddNode makes room for one more node; an empty name gives it one.
func (i *Instance) AddNode(name string) (Node, error) {
	if len(i.Further)+1 >= MaxNodes {
		return Node{}, fmt.Errorf("a machine can be %d nodes at most", MaxNodes)
	}
	number := 2
	for taken := true; taken; {
		taken = false
		for _, f := range i.Further {
			if f.Number == number || name == "" && f.Name == i.nameOf(number) {
				taken = true
				number++
			}
		}
	}
	if name == "" {
		name = i.nameOf(number)
	}
	for _, n := range i.AllNodes() {
		if n.Name == name {
			return n, fmt.Errorf("there is a node %s already", name)
		}
	}
	i.Further = append(i.Further, Further{Name: name, Number: number})
	i.Nodes = 1 + len(i.Further)
	all := i.FurtherNodes()
	return all[len(all)-1], nil
}

func (i *Instance) nameOf(number int) string { return i.NodeName + "-" + strconv.Itoa(number) }

// ForgetNode takes a further node off the list; false: there is none of that name.
func (i *Instance) ForgetNode(name string) bool {
	for at, f := range i.Further {
		if f.Name == name {
			i.Further = append(i.Further[:at:at], i.Further[at+1:]...)
			i.Nodes = 1 + len(i.Further)
			return true
		}
	}
	return false
}

// NodeNetwork is where the machine's nodes meet: its range, and the machine's own
// address in it. Nodes with namespaces of their own reach the machine there.
func (i *Instance) NodeNetwork() (netip.Prefix, netip.Addr) {
	p, err := netip.ParsePrefix(i.NodeCIDR)
	if err != nil {
		return netip.Prefix{}, netip.Addr{}
	}
	return p.Masked(), p.Masked().Addr().Next()
}

func (i *Instance) nodeNetworkIP(number int) string {
	p, err := netip.ParsePrefix(i.NodeCIDR)
	if err != nil {
		return ""
	}
	a := p.Masked().Addr().As4()
	a[3] += byte(number)
	return netip.AddrFrom4(a).String()
}

// BusAddress is where our own store listens: on loopback, or, where there are nodes that
// have another one, at the machine's address in their network.
func (i *Instance) BusAddress() string {
	if len(i.Further) == 0 {
		return i.Address("bus")
	}
	_, machine := i.NodeNetwork()
	return net.JoinHostPort(machine.String(), strconv.Itoa(i.Ports["bus"]))
}
