package iptables

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"

	"kubus.dev/services/proxy/internal/rule"
)

// All gives every variant of iptables on this host in which rules may be: a
// purge looks into each, since the host's choice may have changed.
func All() ([]*Tool, error) {
	if os.Geteuid() != 0 {
		return nil, ErrNotRoot
	}
	var tools []*Tool
	if path, err := exec.LookPath("iptables-nft"); err == nil {
		tools = append(tools, &Tool{restore: path + "-restore", save: path + "-save", Mode: "nf_tables"})
	}
	// Asking the legacy tool makes the kernel create its tables, so ask only
	// where there are some.
	if names, err := os.ReadFile("/proc/thread-self/net/ip_tables_names"); err == nil && len(names) > 0 {
		if path, err := exec.LookPath("iptables-legacy"); err == nil {
			tools = append(tools, &Tool{restore: path + "-restore", save: path + "-save", Mode: "legacy"})
		}
	}
	if tools == nil {
		tool, err := Find()
		if err != nil {
			return nil, err
		}
		tools = append(tools, tool)
	}
	return tools, nil
}

// Purge removes all chains that start with prefix, the rules that lead to them,
// and a table that nothing is left in. It reports how many chains it removed.
func (t *Tool) Purge(ctx context.Context, prefix string) (int, error) {
	states, err := t.Read(ctx, prefix)
	if err != nil {
		return 0, err
	}
	removed := 0
	var input bytes.Buffer
	for _, table := range rule.Tables {
		s := states[table]
		if len(s.Chains)+len(s.Rules) == 0 {
			continue
		}
		removed += len(s.Chains)
		fmt.Fprintf(&input, "*%s\n", table)
		for _, chain := range s.Chains {
			fmt.Fprintf(&input, ":%s - [0:0]\n", chain)
		}
		for _, r := range s.Rules {
			fmt.Fprintf(&input, "-D %s\n", r)
		}
		for _, chain := range s.Chains {
			fmt.Fprintf(&input, "-X %s\n", chain)
		}
		input.WriteString("COMMIT\n")
	}
	if input.Len() == 0 {
		return 0, nil
	}
	if err := t.Restore(ctx, input.Bytes()); err != nil {
		return 0, err
	}
	if t.Mode != "nf_tables" {
		return removed, nil
	}
	return removed, t.removeEmptyTables(ctx, states)
}

// removeEmptyTables leaves no table behind that only we had rules in: iptables
// makes tables as it goes but never removes one.
func (t *Tool) removeEmptyTables(ctx context.Context, before map[rule.Table]State) error {
	after, err := t.Read(ctx, "\x00")
	if err != nil {
		return err
	}
	for _, table := range rule.Tables {
		if len(before[table].Chains) > 0 && after[table].Empty {
			if err := deleteTable(string(table), after[table].Kernel); err != nil {
				return fmt.Errorf("removing the empty table %s: %w", table, err)
			}
		}
	}
	return nil
}
