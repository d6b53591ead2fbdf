package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
)

// ErrNoAddress: every address of the pod CIDR is taken.
var ErrNoAddress = errors.New("no IP address is free in the pod CIDR")

// leases hands out addresses; each is a file named like the address that holds its owner.
type leases struct {
	dir string

	mu     sync.Mutex
	owners map[netip.Addr]string
	last   netip.Addr // addresses are given in turn, so that a freed one rests
}

func openLeases(dir string) (*leases, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	l := &leases{dir: dir, owners: map[netip.Addr]string{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		ip, err := netip.ParseAddr(e.Name())
		if err != nil {
			continue
		}
		owner, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		if len(owner) == 0 { // cut off by a power loss
			_ = os.Remove(filepath.Join(dir, e.Name()))
			continue
		}
		l.owners[ip] = string(owner)
	}
	return l, nil
}

// take gives the owner an address; the first two and the last of the prefix are never given.
func (l *leases) take(owner string, prefix netip.Prefix) (netip.Addr, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ip, o := range l.owners {
		if o == owner && prefix.Contains(ip) {
			return ip, nil
		}
	}
	first := prefix.Addr().Next().Next()
	usable := 1<<(32-prefix.Bits()) - 3
	ip := l.last
	if !ip.IsValid() || !prefix.Contains(ip) {
		ip = first.Prev()
	}
	for range usable {
		ip = ip.Next()
		if !prefix.Contains(ip.Next()) { // broadcast
			ip = first
		}
		if _, taken := l.owners[ip]; taken {
			continue
		}
		if err := os.WriteFile(filepath.Join(l.dir, ip.String()), []byte(owner), 0o600); err != nil {
			return netip.Addr{}, fmt.Errorf("writing address lease: %w", err)
		}
		l.owners[ip], l.last = owner, ip
		return ip, nil
	}
	return netip.Addr{}, ErrNoAddress
}

// release gives back what the owner has.
func (l *leases) release(owner string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ip, o := range l.owners {
		if o != owner {
			continue
		}
		if err := os.Remove(filepath.Join(l.dir, ip.String())); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("removing address lease: %w", err)
		}
		delete(l.owners, ip)
	}
	return nil
}

// all lists the owners.
func (l *leases) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]string, 0, len(l.owners))
	for _, o := range l.owners {
		list = append(list, o)
	}
	return list
}
