package instance

import (
	"fmt"
	"hash/fnv"
	"net"
)

// ChoosePort gives the port of a purpose: the one chosen before, or a free one
// near a place derived from the instance's id, so that instances side by side do
// not meet and a restart finds its port again.
func (i *Instance) ChoosePort(purpose string, taken func(port int) bool) (int, error) {
	if port := i.Ports[purpose]; port != 0 {
		return port, nil
	}
	h := fnv.New32a()
	h.Write([]byte(i.ID + purpose))
	const low, span = 20000, 10000 // below the ephemeral range, outside NodePorts
	for n := range 200 {
		port := low + (int(h.Sum32()%span)+n)%span
		if i.owns(port) || taken(port) {
			continue
		}
		if i.Ports == nil {
			i.Ports = map[string]int{}
		}
		i.Ports[purpose] = port
		return port, nil
	}
	return 0, fmt.Errorf("no free port for %s", purpose)
}

func (i *Instance) owns(port int) bool {
	for _, p := range i.Ports {
		if p == port {
			return true
		}
	}
	return false
}

// Taken tells whether somebody listens on the port at any of the host's addresses.
func Taken(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return true
	}
	_ = l.Close()
	u, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
	if err != nil {
		return true
	}
	_ = u.Close()
	return false
}
