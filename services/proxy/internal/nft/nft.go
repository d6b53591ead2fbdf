// Package nft writes package filter's table into the kernel, by the program nft and the
// library that upstream's own proxy uses for it. One call is one transaction: all of it is
// there afterwards, or nothing.
//
// The table is an instance's own, of the family inet; nothing else is touched.
package nft

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"sigs.k8s.io/knftables"

	"kubus.dev/services/proxy/internal/filter"
	"kubus.dev/services/proxy/internal/policy"
)

// ErrMissing says that the program is not installed.
var ErrMissing = errors.New("nft not found: install the Debian package nftables")

// program is what writes and lists; tests put another in its place.
const program = "nft"

// Table is one instance's table. Its methods work on the network namespace of the calling
// thread, one at a time.
type Table struct {
	name string
	ran  func(pid int) // told of each process that writes
	nft  knftables.Interface
}

// Name is that of an instance's table; prefix is that of its chains of iptables.
func Name(prefix string) string { return prefix + "policy" }

// New gives the table of that name. Nothing is looked at before the first use.
func New(name string, ran func(pid int)) *Table { return &Table{name: name, ran: ran} }

// ready finds the program, and whether the kernel takes what it says.
func (t *Table) ready() error {
	if t.nft != nil {
		return nil
	}
	if _, err := exec.LookPath(program); err != nil {
		return ErrMissing
	}
	nft, err := knftables.New(knftables.InetFamily, t.name, knftables.NoObjectCommentEmulation)
	if err != nil {
		return fmt.Errorf("nf_tables cannot be used: %w", err)
	}
	t.nft = nft
	return nil
}

// Replace puts all of a delta in the place of whatever the table holds, in one step.
func (t *Table) Replace(ctx context.Context, d *filter.Delta) error { return t.write(ctx, d, true) }

// Apply changes the table, which must hold what the deltas before it made.
func (t *Table) Apply(ctx context.Context, d *filter.Delta) error { return t.write(ctx, d, false) }

// Remove takes the table away; that there is none is no error, nor that there is no nft.
func (t *Table) Remove(ctx context.Context) error {
	if err := t.ready(); errors.Is(err, ErrMissing) {
		return nil
	} else if err != nil {
		return err
	}
	tx := t.nft.NewTransaction()
	t.clear(tx)
	return t.run(ctx, tx)
}

// clear takes the table away within a transaction, be it there or not.
func (t *Table) clear(tx *knftables.Transaction) {
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
}

// priority puts a hook's chain right before those of iptables' filter: an answer there is
// seen with the pods' own addresses on both sides.
var priority = [2]string{policy.Ingress: "-1", policy.Egress: "-2"}

func (t *Table) write(ctx context.Context, d *filter.Delta, anew bool) error {
	if err := t.ready(); err != nil {
		return err
	}
	tx := t.nft.NewTransaction()
	if anew {
		t.clear(tx)
		tx.Add(&knftables.Table{})
	}
	for _, s := range d.NewSets {
		add(tx, s)
	}
	for _, name := range d.NewChains {
		tx.Add(chain(name))
	}
	for _, e := range d.Less {
		e.Verdict = ""
		tx.Delete(element(e))
	}
	for _, e := range d.More {
		tx.Add(element(e))
	}
	for _, c := range d.Rules {
		tx.Flush(&knftables.Chain{Name: c.Name})
		for _, rule := range c.Rules {
			tx.Add(&knftables.Rule{Chain: c.Name, Rule: rule})
		}
	}
	for _, name := range d.OldChains {
		tx.Flush(&knftables.Chain{Name: name})
	}
	for _, name := range d.OldChains {
		tx.Delete(&knftables.Chain{Name: name})
	}
	for _, s := range d.OldSets {
		tx.Delete(&knftables.Set{Name: s.Name})
	}
	return t.run(ctx, tx)
}

func chain(name string) *knftables.Chain {
	c := &knftables.Chain{Name: name}
	for _, d := range policy.Directions {
		if name == filter.Base[d] {
			hook, kind, at := knftables.ForwardHook, knftables.FilterType, knftables.BaseChainPriority(priority[d])
			c.Type, c.Hook, c.Priority = &kind, &hook, &at
		}
	}
	return c
}

func add(tx *knftables.Transaction, s *filter.Set) {
	if s.Verdict {
		tx.Add(&knftables.Map{Name: s.Name, Type: string(s.Kind) + " : verdict"})
		return
	}
	set := &knftables.Set{Name: s.Name, Type: string(s.Kind)}
	if s.Ranges {
		set.Flags = []knftables.SetFlag{knftables.IntervalFlag}
	}
	tx.Add(set)
}

func element(e filter.Element) *knftables.Element {
	out := &knftables.Element{Set: e.Set.Name, Key: strings.Split(e.Key, " . ")}
	if e.Set.Verdict {
		out.Set, out.Map = "", e.Set.Name
		if e.Verdict != "" {
			out.Value = []string{e.Verdict}
		}
	}
	return out
}

// run is the library's, but that it tells which process wrote: the kernel's news name it.
func (t *Table) run(ctx context.Context, tx *knftables.Transaction) error {
	text := tx.String()
	if _, problem, bad := strings.Cut(text, "# ERROR: "); bad {
		return fmt.Errorf("writing the table of policies: %s", problem)
	}
	cmd := exec.CommandContext(ctx, program, "-f", "-")
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(text), &out, &out
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("nft: %w", err)
	}
	if t.ran != nil {
		t.ran(cmd.Process.Pid)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, first(out.String()))
	}
	return nil
}

// first is enough of a tool's complaint to see what it is about.
func first(text string) string {
	const most = 500
	if text = strings.TrimSpace(text); len(text) > most {
		text = text[:most] + "…"
	}
	return text
}

// Count tells how much the table holds; found is false where there is none.
func (t *Table) Count(ctx context.Context) (count filter.Count, found bool, err error) {
	count = filter.Count{Rules: map[string]int{}, Elements: map[string]int{}}
	if err := t.ready(); err != nil {
		return count, false, err
	}
	out, err := exec.CommandContext(ctx, program, "--json", "list", "table", "inet", t.name).Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		if strings.Contains(string(failed.Stderr), "No such file or directory") {
			return count, false, nil
		}
		return count, false, fmt.Errorf("nft: %w: %s", err, first(string(failed.Stderr)))
	}
	if err != nil {
		return count, false, fmt.Errorf("nft: %w", err)
	}
	return count, true, tally(out, &count)
}

// tally counts what a list in JSON has.
func tally(list []byte, count *filter.Count) error {
	type set struct {
		Name string            `json:"name"`
		Elem []json.RawMessage `json:"elem"`
	}
	var all struct {
		Nftables []struct {
			Chain *struct {
				Name string `json:"name"`
			} `json:"chain"`
			Rule *struct {
				Chain string `json:"chain"`
			} `json:"rule"`
			Set *set `json:"set"`
			Map *set `json:"map"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(list, &all); err != nil {
		return fmt.Errorf("reading nft's list: %w", err)
	}
	for _, o := range all.Nftables {
		switch {
		case o.Chain != nil:
			count.Rules[o.Chain.Name] += 0
		case o.Rule != nil:
			count.Rules[o.Rule.Chain]++
		case o.Set != nil:
			count.Elements[o.Set.Name] = len(o.Set.Elem)
		case o.Map != nil:
			count.Elements[o.Map.Name] = len(o.Map.Elem)
		}
	}
	return nil
}
