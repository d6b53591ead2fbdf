package proxy

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// sockets are the addresses at which programs of this machine take what comes, by protocol.
// An unspecified address is all of them.
type sockets map[string][]netip.AddrPort

// tables are where the kernel shows them to the thread's network namespace, and the state in
// which one takes what comes from everybody: of TCP "listen", of UDP "not connected".
var tables = []struct{ protocol, file, state string }{
	{"tcp", "tcp", "0A"}, {"tcp", "tcp6", "0A"}, {"udp", "udp", "07"}, {"udp", "udp6", "07"},
}

// open reads what there is at the moment. It looks, and binds nothing: who tries to have a
// port keeps others from it meanwhile.
func open() sockets {
	found := sockets{}
	for _, table := range tables {
		f, err := os.Open("/proc/thread-self/net/" + table.file)
		if err != nil {
			continue // without IPv6 there is no such table
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if at, ok := parseSocket(lines.Text(), table.state); ok {
				found[table.protocol] = append(found[table.protocol], at)
			}
		}
		_ = f.Close()
	}
	return found
}

// has tells whether a program has the port at that address, of IPv6 at all addresses or at it mapped.
func (s sockets) has(protocol string, at netip.AddrPort) bool {
	for _, have := range s[protocol] {
		if have.Port() == at.Port() && (have.Addr().IsUnspecified() || have.Addr() == at.Addr()) {
			return true
		}
	}
	return false
}

// parseSocket gives the address of a line of such a table that is in a state.
func parseSocket(line, state string) (at netip.AddrPort, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 4 || fields[3] != state {
		return at, false
	}
	address, port, _ := strings.Cut(fields[1], ":")
	number, err := strconv.ParseUint(port, 16, 16)
	raw, hexErr := hex.DecodeString(address)
	if err != nil || hexErr != nil || len(raw)%4 != 0 {
		return at, false
	}
	for i := 0; i < len(raw); i += 4 { // each word in the machine's order
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	addr, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr.Unmap(), uint16(number)), ok
}
