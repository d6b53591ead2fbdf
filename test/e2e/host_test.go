package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"
)

// host is the state of the machine that a cluster may change.
type host map[string][]string

// marks tell our own traces from those of whoever else works on the machine; used
// where CI has not promised that we are alone.
type marks []string

// traces are the marks of one instance: links and chains carry a hash of its id.
func traces(dir, instance string) marks {
	sum := sha256.Sum256([]byte(instance))
	return marks{dir, "kubus-" + instance, "/run/kubus/" + instance, hex.EncodeToString(sum[:3])}
}

func (m marks) ours(line string) bool {
	if promised() {
		return true
	}
	for _, mark := range m {
		if mark != "" && strings.Contains(line, mark) {
			return true
		}
	}
	return false
}

func snapshot(t *testing.T) host {
	t.Helper()
	h := host{}
	for _, tool := range []string{"iptables-save", "iptables-legacy-save", "ip6tables-save"} {
		out, err := exec.Command(tool).Output()
		if err == nil {
			h[tool] = rules(string(out))
		}
	}
	if out, err := exec.Command("nft", "list", "tables", "inet").Output(); err == nil {
		h["nft list tables"] = strings.Split(strings.TrimSpace(string(out)), "\n")
	}
	links, err := os.ReadDir("/sys/class/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		h["ip link"] = append(h["ip link"], l.Name())
	}
	for _, dir := range []string{"/run/netns", "/run/kubus"} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			h["entries of "+dir] = append(h["entries of "+dir], e.Name())
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	h["/proc/mounts"] = strings.Split(strings.TrimSpace(string(mounts)), "\n")
	h["cgroups"] = cgroups()
	h["processes"] = processes()
	for _, name := range []string{"net/ipv4/ip_forward", "net/ipv4/conf/all/route_localnet", "net/bridge/bridge-nf-call-iptables"} {
		if data, err := os.ReadFile("/proc/sys/" + name); err == nil {
			h["sysctls"] = append(h["sysctls"], name+"="+strings.TrimSpace(string(data)))
		}
	}
	return h
}

var counters = regexp.MustCompile(`\[\d+:\d+\]`)

// rules gives the rules and chains of iptables-save's output, without comments and
// counters. A table that merely exists, empty and with accepting chains, says nothing.
func rules(save string) []string {
	var out []string
	table := ""
	for line := range strings.Lines(save) {
		line = strings.TrimSpace(counters.ReplaceAllString(line, ""))
		switch {
		case line == "" || line[0] == '#' || line == "COMMIT":
		case line[0] == '*':
			table = line
		case strings.HasPrefix(line, ":") && strings.HasSuffix(line, " ACCEPT"):
		default:
			out = append(out, table+" "+line)
		}
	}
	return out
}

func cgroups() []string {
	var out []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			out = append(out, path)
		}
		return nil
	})
	return out
}

// processes lists what runs of any cluster: our programs by their executable, what
// is in containers by its cgroup. Kernel threads, zombies and our own children are
// left out, and so is what others do on the machine meanwhile.
func processes() []string {
	parents := map[int]int{}
	lines := map[int]string{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if len(fields) < 2 || fields[0] == "Z" || len(cmdline) == 0 {
			continue
		}
		parents[pid], _ = strconv.Atoi(fields[1])
		if !ofACluster(dir) {
			continue
		}
		lines[pid] = fmt.Sprintf("%d %s", pid, strings.TrimSpace(strings.ReplaceAll(string(cmdline), "\x00", " ")))
	}
	var out []string
	for pid, line := range lines {
		mine := false
		for p := pid; p > 1 && !mine; p = parents[p] {
			mine = p == os.Getpid()
		}
		if !mine {
			out = append(out, line)
		}
	}
	return out
}

func ofACluster(dir string) bool {
	if exe, err := os.Readlink(filepath.Join(dir, "exe")); err == nil && strings.HasPrefix(exe, *binDir+"/") {
		return true
	}
	groups, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
	return strings.Contains(string(groups), "/kubus-")
}

// added lists what is in after and not in before, by kind.
func added(before, after host, m marks) []string {
	var out []string
	for kind, lines := range after {
		had := map[string]int{}
		for _, line := range before[kind] {
			had[line]++
		}
		for _, line := range lines {
			if had[line] > 0 {
				had[line]--
				continue
			}
			if m.ours(line) {
				out = append(out, "added to "+kind+": "+line)
			}
		}
	}
	sort.Strings(out)
	return out
}

// unchanged waits until the machine is as it was.
func unchanged(t *testing.T, before host, m marks) {
	t.Helper()
	eventually(t, 10*time.Second, "the machine is as it was", func() error {
		after := snapshot(t)
		changes := added(before, after, m)
		for _, line := range added(after, before, m) {
			changes = append(changes, strings.Replace(line, "added to", "gone from", 1))
		}
		if len(changes) > 0 {
			return fmt.Errorf("%d differences:\n%s", len(changes), strings.Join(changes, "\n"))
		}
		return nil
	})
}
