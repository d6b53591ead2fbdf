package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"

	"kubus.dev/services/kit/links"
)

// Purge removes everything of an instance from the kernel: rules, links, namespaces. Nothing of it may be there.
func Purge(ctx context.Context, instance, nsDir string) error {
	names := NamesOf(instance)
	errs := removeRules(ctx, names)
	all, err := links.All()
	errs = errors.Join(errs, err)
	for _, l := range all {
		name := l.Attrs().Name
		if !names.ownLink(name) {
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
