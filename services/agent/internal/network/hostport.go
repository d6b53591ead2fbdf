package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"kubus.dev/services/kit/file"
)

// hostPorts keeps the pods' ports on the node; the file is the truth after a restart. A socket holds each port, since
// its rules come before whoever listens there: what is somebody else's cannot be taken, and what is a pod's by nobody.
type hostPorts struct {
	file  string
	names Names
	log   *zap.Logger

	mu   sync.Mutex
	pods map[string]podPorts
	held map[string][]io.Closer // by owner
}

type podPorts struct {
	IP    netip.Addr    `json:"ip"`
	Ports []PortMapping `json:"ports"`
}

func openHostPorts(file string, names Names, log *zap.Logger) (*hostPorts, error) {
	h := &hostPorts{file: file, names: names, log: log, pods: map[string]podPorts{}, held: map[string][]io.Closer{}}
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return h, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &h.pods)
	}
	if err != nil {
		return nil, fmt.Errorf("reading hostPorts: %w", err)
	}
	return h, nil
}

// add makes ports lead to a pod, all or none; EADDRINUSE says that one is another program's.
func (h *hostPorts) add(ctx context.Context, owner string, ip netip.Addr, ports []PortMapping) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.hold(ctx, owner, ports); err != nil {
		return err
	}
	h.pods[owner] = podPorts{ip, ports}
	return h.sync(ctx)
}

func (h *hostPorts) remove(ctx context.Context, owner string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.pods[owner]; !ok {
		return nil
	}
	delete(h.pods, owner)
	err := h.sync(ctx)
	h.letGo(owner) // after its rules
	return err
}

// keep forgets all owners but these, and holds their ports again after a restart. One that was taken meanwhile stays
// the pod's, which had it first.
func (h *hostPorts) keep(ctx context.Context, owners map[string]netip.Addr) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := len(h.pods)
	maps.DeleteFunc(h.pods, func(owner string, _ podPorts) bool { _, ok := owners[owner]; return !ok })
	for owner, pod := range h.pods {
		if h.held[owner] != nil {
			continue
		}
		if err := h.hold(ctx, owner, pod.Ports); err != nil {
			h.log.Warn("somebody listens on a port that leads to a pod", zap.Stringer("pod", pod.IP), zap.Error(err))
		}
	}
	if len(h.pods) == before {
		return nil
	}
	return h.sync(ctx)
}

// hold takes sockets for all ports, or none.
func (h *hostPorts) hold(ctx context.Context, owner string, ports []PortMapping) error {
	for _, p := range ports {
		socket, err := p.hold(ctx)
		if err != nil {
			h.letGo(owner)
			return fmt.Errorf("cannot open hostPort %d/%s: %w", p.HostPort, p.Protocol, err)
		}
		h.held[owner] = append(h.held[owner], socket)
	}
	return nil
}

func (h *hostPorts) letGo(owner string) {
	for _, socket := range h.held[owner] {
		socket.Close()
	}
	delete(h.held, owner)
}

// close lets go of all sockets; the rules stay.
func (h *hostPorts) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for owner := range h.held {
		h.letGo(owner)
	}
}

// restore brings the rules in line with the file, when there have ever been hostPorts.
func (h *hostPorts) restore(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.pods) == 0 {
		return nil
	}
	return h.sync(ctx)
}

func (h *hostPorts) sync(ctx context.Context) error {
	data, err := json.Marshal(h.pods)
	if err != nil {
		return err
	}
	if err := file.Replace(h.file, data, 0o600); err != nil {
		return fmt.Errorf("writing hostPorts: %w", err)
	}
	// A port on 127.0.0.1 needs packets from loopback to leave it, by the links that have such ports; what a pod itself
	// sends there is dropped before (SRC).
	for _, pod := range h.pods {
		link := vethName(h.names, pod.IP)
		if err := setSysctl("net/ipv4/conf/"+link+"/route_localnet", "1"); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return restore(ctx, h.names.portJumps(), h.names.portRules(h.pods))
}

func (n Names) portRules(pods map[string]podPorts) map[string][]string {
	in, masq := n.Chain("HP"), n.Chain("HPM")
	rules := map[string][]string{
		"nat/" + in:   {},
		"nat/" + masq: {},
		"filter/" + n.Chain("HPI"): {fmt.Sprintf("-A %s -i %s -d 127.0.0.0/8 "+
			"-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP", n.Chain("HPI"), n.Bridge)},
	}
	for _, owner := range slices.Sorted(maps.Keys(pods)) {
		pod := pods[owner]
		for _, p := range pod.Ports {
			to := ""
			if p.HostIP != "" && p.HostIP != "0.0.0.0" {
				to = " -d " + p.HostIP + "/32"
			}
			rules["nat/"+in] = append(rules["nat/"+in], fmt.Sprintf("-A %s%s -p %s -m %s --dport %d -j DNAT --to-destination %s:%d",
				in, to, p.Protocol, p.Protocol, p.HostPort, pod.IP, p.ContainerPort))
			for _, from := range []string{pod.IP.String() + "/32", "127.0.0.0/8"} { // a pod that calls itself; the node's loopback
				rules["nat/"+masq] = append(rules["nat/"+masq], fmt.Sprintf("-A %s -s %s -d %s/32 -p %s -m %s --dport %d -j MASQUERADE",
					masq, from, pod.IP, p.Protocol, p.Protocol, p.ContainerPort))
			}
		}
	}
	return rules
}
