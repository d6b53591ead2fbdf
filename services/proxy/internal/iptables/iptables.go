// Package iptables runs the iptables tools of the host: it finds them, lists
// chains, applies one restore input, and removes an instance's chains. It holds
// no rule of its own; package rule makes them.
package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	goiptables "github.com/coreos/go-iptables/iptables"

	"kubus.dev/services/proxy/internal/rule"
)

// ErrMissing says that the tools are not installed.
var ErrMissing = errors.New("iptables not found: install the Debian package iptables")

// ErrNotRoot says that the process may not change rules.
var ErrNotRoot = errors.New("changing iptables rules needs root (CAP_NET_ADMIN)")

// Tool is one variant of iptables on this host. Its methods work on the network
// namespace of the calling thread.
type Tool struct {
	restore, save string
	Mode          string // "nf_tables" or "legacy"
	Version       string

	own recent // processes whose changes are ours
}

// Find gives the variant that the host's iptables command is.
func Find() (*Tool, error) {
	if os.Geteuid() != 0 {
		return nil, ErrNotRoot
	}
	path, err := exec.LookPath("iptables")
	if err != nil {
		return nil, ErrMissing
	}
	found, err := goiptables.New(goiptables.IPFamily(goiptables.ProtocolIPv4), goiptables.Path(path))
	if err != nil {
		return nil, fmt.Errorf("asking iptables for its version: %w", err)
	}
	major, minor, patch := found.GetIptablesVersion()
	mode := "legacy"
	if out, err := exec.Command(path, "--version").Output(); err == nil && bytes.Contains(out, []byte("nf_tables")) {
		mode = "nf_tables"
	}
	return &Tool{
		restore: path + "-restore", save: path + "-save",
		Mode: mode, Version: fmt.Sprintf("%d.%d.%d", major, minor, patch),
	}, nil
}

// Restore applies input to the tables it names, each as a whole or not at all,
// and touches no chain it does not name.
func (t *Tool) Restore(ctx context.Context, input []byte) error {
	cmd := exec.CommandContext(ctx, t.restore, "--noflush", "-w", "5")
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &out
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("iptables-restore: %w", err)
	}
	t.own.add(cmd.Process.Pid)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("iptables-restore: %w: %s", err, strings.TrimSpace(out.String()))
	}
	return nil
}

// State is what an instance has in one table.
type State struct {
	Chains []string        // its chains, prefix included
	Rules  []string        // rules of other chains that lead to them, without "-A "
	Count  map[string]int  // rules in each of Chains
	first  map[string]bool // those of Rules that stand first in their chain
	Kernel []string        // the kernel's own chains of the table
	// Empty: the table has no rule, no chain beyond the kernel's and no policy
	// but ACCEPT, so that nothing would be missed without it.
	Empty bool
}

// Has tells whether a rule leads to the instance's chains.
func (s State) Has(rule string) bool { return slices.Contains(s.Rules, rule) }

// First tells whether such a rule stands first in its chain, behind those of
// other instances at most.
func (s State) First(rule string) bool { return s.first[rule] }

// Read gives an instance's state in each of rule.Tables. A table that does not
// exist is Empty.
func (t *Tool) Read(ctx context.Context, prefix string) (map[rule.Table]State, error) {
	states := map[rule.Table]State{}
	for _, table := range rule.Tables {
		out, err := exec.CommandContext(ctx, t.save, "-t", string(table)).Output()
		if err != nil {
			return nil, fmt.Errorf("iptables-save -t %s: %w", table, err)
		}
		states[table] = parse(string(out), prefix)
	}
	return states, nil
}

// anyInstance is what the chains of all proxies start with.
const anyInstance = "KB-"

func parse(saved, prefix string) State {
	s := State{Empty: true, Count: map[string]int{}, first: map[string]bool{}}
	passed := map[string]bool{} // chains in which a rule of others was seen
	for line := range strings.Lines(saved) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, ":"):
			name, rest, _ := strings.Cut(line[1:], " ")
			switch policy, _, _ := strings.Cut(rest, " "); policy {
			case "ACCEPT":
				s.Kernel = append(s.Kernel, name)
			default: // "-" of a chain somebody made, or DROP
				s.Empty = false
			}
			if strings.HasPrefix(name, prefix) {
				s.Chains = append(s.Chains, name)
			}
		case strings.HasPrefix(line, "-A "):
			s.Empty = false
			chain, rest, _ := strings.Cut(line[3:], " ")
			switch {
			case strings.HasPrefix(chain, prefix):
				s.Count[chain]++
			case strings.Contains(line, "-j "+prefix):
				s.Rules = append(s.Rules, line[3:])
				s.first[line[3:]] = s.first[line[3:]] || !passed[chain]
			default:
				passed[chain] = passed[chain] || !strings.HasPrefix(rest, "-j "+anyInstance)
			}
		}
	}
	return s
}
