package e2e

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// reach looks at what the instance's processes listen to, and at what of it other users of
// the machine can read: the API where it was told to be, its DNS at the node's address,
// and everything else on loopback or in files of root's.
func (j *job) reach(t *testing.T) {
	host, port, _ := strings.Cut(j.listen, ":")
	node := j.get(t, "node/"+j.node, `.status.addresses[?(@.type=="InternalIP")].address`)
	allowed := map[string]string{j.listen: "the API, as told", node + ":" + port: "the API for pods"}
	if host == "0.0.0.0" {
		t.Fatal("this would allow everything")
	}
	sockets := j.listeners(t)
	if len(sockets) < 3 {
		t.Fatalf("it listens to %v only: the test proves nothing", sockets)
	}
	dns := map[string]int{}
	for at, who := range sockets {
		protocol, address, _ := strings.Cut(at, " ")
		ap := netip.MustParseAddrPort(address)
		switch {
		case ap.Addr().Unmap().IsLoopback(), allowed[address] != "" && protocol == "tcp":
		case ap.Addr().String() == node && strings.Contains(who, "dns"), ap.Addr().String() == node && j.form == "allinone":
			dns[address]++ // the same port of both protocols, and that alone
		default:
			t.Errorf("%s listens to %s", who, at)
		}
	}
	if len(dns) > 1 {
		t.Errorf("more than the DNS listens at the node's address: %v", dns)
	}
	for _, path := range []string{j.dir, "/run/kubus/" + j.instance(t)} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("others can look into %s: %v %v", path, info.Mode(), err)
		}
	}
	if info, err := os.Stat(j.config); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others can read the kubeconfig: %v %v", info.Mode(), err)
	}
}

func (j *job) instance(t *testing.T) string {
	t.Helper()
	s, err := j.status()
	if err != nil {
		t.Fatalf("%v %+v", err, s)
	}
	return s.Instance
}

// listeners gives who of the instance listens to what, by protocol and address.
func (j *job) listeners(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	seen := map[string]bool{}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if ns, _ := os.Readlink(filepath.Join(dir, "ns/net")); ns != own || !bytes.Contains(cmdline, []byte(j.dir)) || !ofACluster(dir) {
			continue
		}
		name := strings.ReplaceAll(strings.TrimRight(string(cmdline), "\x00"), "\x00", " ")
		fds, _ := filepath.Glob(filepath.Join(dir, "fd/*"))
		var inodes []string
		for _, fd := range fds {
			link, _ := os.Readlink(fd)
			if inode, ok := strings.CutPrefix(link, "socket:["); ok {
				inodes = append(inodes, strings.TrimSuffix(inode, "]"))
			}
		}
		for file, listens := range map[string]string{"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"} {
			data, err := os.ReadFile("/proc/self/net/" + file)
			if err != nil {
				continue // a machine without IPv6
			}
			for line := range strings.Lines(string(data)) {
				f := strings.Fields(line)
				if len(f) > 9 && f[3] == listens && slices.Contains(inodes, f[9]) {
					found[file[:3]+" "+procAddress(t, f[1])] = name
				}
			}
		}
		data, err := os.ReadFile("/proc/self/net/unix")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if f := strings.Fields(line); len(f) > 7 && strings.HasPrefix(f[7], "@") && slices.Contains(inodes, f[6]) {
				t.Errorf("%s has the socket %s, which everybody on the machine reaches", name, f[7])
			}
		}
		seen[filepath.Base(strings.Fields(name)[0])] = true
	}
	t.Logf("%d kinds of processes listen to %d places", len(seen), len(found))
	return found
}

// procAddress reads an address as /proc/net has it: words in the machine's order.
func procAddress(t *testing.T, text string) string {
	t.Helper()
	address, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(address)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+4 <= len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	addr, ok := netip.AddrFromSlice(raw)
	var number uint16
	if _, err := fmt.Sscanf(port, "%X", &number); err != nil || !ok {
		t.Fatalf("%q: %v", text, err)
	}
	return netip.AddrPortFrom(addr.Unmap(), number).String()
}
