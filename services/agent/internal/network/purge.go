package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
)

// Purge removes everything of an instance from the kernel: rules, links, namespaces. Nothing of it may be there.
func Purge(ctx context.Context, instance, nsDir string) error {
	names := NamesOf(instance)
	errs := removeRules(ctx, names)
	links, err := netlink.LinkList()
	errs = errors.Join(errs, err)
	for _, l := range links {
		name := l.Attrs().Name
		if name != names.Bridge && !(l.Type() == "veth" && strings.HasPrefix(name, "kv"+names.Hash[:5])) {
			continue
		}
		if err := netlink.LinkDel(l); err != nil {
			errs = errors.Join(errs, fmt.Errorf("removing link %s: %w", name, err))
		}
	}
	entries, _ := os.ReadDir(nsDir)
	for _, e := range entries {
		errs = errors.Join(errs, RemoveNamespaces(filepath.Join(nsDir, e.Name())))
	}
	return errs
}
