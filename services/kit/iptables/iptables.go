// Package iptables reads and writes the rules of the thread's network namespace by the
// programs iptables-save and iptables-restore, which must be in the PATH. Rules of others
// are not touched.
package iptables

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// Save lists the rules and chains by table, as iptables-save prints them: "-A CHAIN …" and
// ":CHAIN POLICY [0:0]".
func Save(ctx context.Context) (map[string][]string, error) {
	cmd := exec.CommandContext(ctx, "iptables-save")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("iptables-save: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return parse(string(out)), nil
}

func parse(text string) map[string][]string {
	tables := map[string][]string{}
	table := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if t, ok := strings.CutPrefix(line, "*"); ok {
			table = t
		} else if strings.HasPrefix(line, "-A ") || strings.HasPrefix(line, ":") {
			tables[table] = append(tables[table], line)
		}
	}
	return tables
}

// Restore changes what the input of iptables-restore names, each table in one step. Nothing
// to change is no error.
func Restore(ctx context.Context, input []byte) error {
	if len(input) == 0 {
		return nil
	}
	cmd := exec.CommandContext(ctx, "iptables-restore", "--noflush", "-w", "10")
	cmd.Stdin = bytes.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("iptables-restore: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}
