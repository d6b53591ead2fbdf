package nodenet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/services/kit/netns"
)

// kinds of namespaces that a node has of its own, by the file that keeps each.
var kinds = []struct {
	file string
	flag int
}{{"net", unix.CLONE_NEWNET}, {"uts", unix.CLONE_NEWUTS}}

// Files lists the namespaces that a node's processes are started in; none for the machine.
func Files(node instance.Node) []string {
	if !node.Own() {
		return nil
	}
	var files []string
	for _, k := range kinds {
		files = append(files, filepath.Join(node.Namespaces, k.file))
	}
	return files
}

// ensureNamespaces makes a node's namespaces, which live as mounts until removeNamespaces;
// fresh tells that they were not there.
func ensureNamespaces(dir, hostname string) (fresh bool, err error) {
	if kept(dir) {
		return false, nil
	}
	if err := removeNamespaces(dir); err != nil { // half of them
		return false, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	if err := netns.OnOwnThread(func() error { return makeNamespaces(dir, hostname) }); err != nil {
		return false, errors.Join(err, removeNamespaces(dir))
	}
	return true, nil
}

// kept tells whether all files keep a namespace.
func kept(dir string) bool {
	for _, k := range kinds {
		var fs unix.Statfs_t
		if unix.Statfs(filepath.Join(dir, k.file), &fs) != nil || fs.Type != unix.NSFS_MAGIC {
			return false
		}
	}
	return true
}

func makeNamespaces(dir, hostname string) error {
	flags := 0
	for _, k := range kinds {
		flags |= k.flag
	}
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("making namespaces: %w", err)
	}
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return fmt.Errorf("setting the node's host name: %w", err)
	}
	for _, k := range kinds {
		file := filepath.Join(dir, k.file)
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			return err
		}
		from := fmt.Sprintf("/proc/self/task/%d/ns/%s", unix.Gettid(), k.file)
		if err := unix.Mount(from, file, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("keeping a namespace: %w", err)
		}
	}
	return nil
}

// removeNamespaces lets go of them. It may be called twice.
func removeNamespaces(dir string) error {
	for _, k := range kinds {
		for unix.Unmount(filepath.Join(dir, k.file), unix.MNT_DETACH) == nil {
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing a node's namespaces: %w", err)
	}
	return nil
}

// In runs f in the network of a node, which may be the machine's.
func In(node instance.Node, f func() error) error {
	if !node.Own() {
		return f()
	}
	if err := netns.In(f, filepath.Join(node.Namespaces, "net")); err != nil {
		return fmt.Errorf("in the network of node %s: %w", node.Name, err)
	}
	return nil
}

// Dialer dials from a node.
func Dialer(node instance.Node) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = In(node, func() error {
			var d net.Dialer
			conn, err = d.DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
}
