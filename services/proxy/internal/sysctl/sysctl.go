// Package sysctl sets the kernel's switches that a proxy cannot work without,
// and remembers in the data directory what they were, so that a purge puts them
// back. Only switches that had to be changed are recorded.
package sysctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"kubus.dev/services/kit/file"
)

// Setting is one switch, by its path under /proc/sys/net.
type Setting struct {
	Path     string
	Value    string
	Optional bool // not there: nothing to set
}

// Needed is what the proxy asks for. Bridged packets must pass iptables, or the
// answer of a pod on the same bridge as its client is never translated back.
var Needed = []Setting{
	{Path: "ipv4/ip_forward", Value: "1"},
	{Path: "bridge/bridge-nf-call-iptables", Value: "1", Optional: true},
}

const (
	root   = "/proc/sys/net"
	record = "sysctl.json"
)

// Apply sets what differs and records the old value in dir, before it is
// changed. An empty dir records nothing. A value recorded earlier is kept: it is
// the one from before us.
func Apply(dir string, settings []Setting) error {
	before, err := load(dir)
	if err != nil {
		return err
	}
	for _, s := range settings {
		old, err := read(s.Path)
		if errors.Is(err, fs.ErrNotExist) && s.Optional {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", s.Path, err)
		}
		if old == s.Value {
			continue
		}
		if _, known := before[s.Path]; !known {
			before[s.Path] = change{Before: old, Set: s.Value}
			if err := store(dir, before); err != nil {
				return err
			}
		}
		if err := write(s.Path, s.Value); err != nil {
			return fmt.Errorf("setting %s to %s: %w", s.Path, s.Value, err)
		}
	}
	return nil
}

// Restore puts back what Apply changed in dir, except what somebody else has
// changed since, and forgets it.
func Restore(dir string) error {
	before, err := load(dir)
	if err != nil || len(before) == 0 {
		return err
	}
	for path, c := range before {
		now, err := read(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && now != c.Set {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", path, err)
		}
		if err := write(path, c.Before); err != nil {
			return fmt.Errorf("setting %s back to %s: %w", path, c.Before, err)
		}
	}
	return os.Remove(filepath.Join(dir, record))
}

// change is one line of the record.
type change struct {
	Before string `json:"before"`
	Set    string `json:"set"`
}

func load(dir string) (map[string]change, error) {
	changes := map[string]change{}
	if dir == "" {
		return changes, nil
	}
	data, err := os.ReadFile(filepath.Join(dir, record))
	if errors.Is(err, fs.ErrNotExist) {
		return changes, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the record of sysctls: %w", err)
	}
	if err := json.Unmarshal(data, &changes); err != nil {
		return nil, fmt.Errorf("reading %s: %w", filepath.Join(dir, record), err)
	}
	return changes, nil
}

func store(dir string, changes map[string]change) error {
	if dir == "" {
		return nil
	}
	data, err := json.MarshalIndent(changes, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the record of sysctls: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the data directory: %w", err)
	}
	if err := file.Replace(filepath.Join(dir, record), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("recording sysctls: %w", err)
	}
	return nil
}

func read(path string) (string, error) {
	data, err := os.ReadFile(filepath.Join(root, path))
	return strings.TrimSpace(string(data)), err
}

// write needs O_WRONLY alone: a sysctl file cannot be truncated or created.
func write(path, value string) error {
	f, err := os.OpenFile(filepath.Join(root, path), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
