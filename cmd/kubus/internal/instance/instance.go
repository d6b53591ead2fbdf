package instance

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"kubus.dev/services/kit/file"
)

// Layout is the version of the data directory that this program reads and writes.
const Layout = "1"

// Forms in which an instance runs.
const (
	AllInOne = "allinone" // everything in one process
	Services = "services" // every service in a process of its own
)

// Instance is what was chosen for a cluster on this machine.
type Instance struct {
	Dir string `json:"-"` // absolute

	// ID tells this instance's bridges, chains, cgroups and mounts from others'.
	ID          string `json:"id"`
	Form        string `json:"form"`
	Listen      string `json:"listen"`
	Nodes       int    `json:"nodes"`
	NodeName    string `json:"nodeName"`
	NodeIP      string `json:"nodeIP"`
	PodCIDR     string `json:"podCIDR"`
	ServiceCIDR string `json:"serviceCIDR"`

	// NodeCIDR is where nodes with a network namespace of their own have their addresses.
	NodeCIDR string `json:"nodeCIDR,omitempty"`
	// PodNetwork is how packets of pods get from node to node: proxy.Routes or proxy.VXLAN.
	PodNetwork string `json:"podNetwork,omitempty"`
	// Further are the nodes beside the machine itself; Nodes counts it and them.
	Further []Further `json:"further,omitempty"`

	// SimNodes is how many simulated nodes there are, SimProfile the file that says what they
	// are like.
	SimNodes   int    `json:"simNodes,omitempty"`
	SimProfile string `json:"simProfile,omitempty"`

	// Store is the URL of a NATS that is not ours; empty for our own.
	Store string `json:"store,omitempty"`
	// StoreNkey is the directory with each role's key, or roster.OwnKeys; empty for a
	// NATS that asks for none.
	StoreNkey string `json:"storeNkey,omitempty"`
	StoreCA   string `json:"storeCA,omitempty"`

	// Ports we chose ourselves, by purpose.
	Ports map[string]int `json:"ports"`

	// Sysctls are the host's settings before the first start.
	Sysctls map[string]string `json:"sysctls,omitempty"`

	// Context is the name in kubeconfig files; Kubeconfigs the files it was merged into.
	Context     string   `json:"context"`
	Kubeconfigs []string `json:"kubeconfigs,omitempty"`
}

// ID derives an instance's id. It is stable, so that what a lost data directory
// left on the host can still be found and removed.
func ID(dir, nodeName string) string {
	sum := sha256.Sum256([]byte(dir + "\x00" + nodeName))
	return hex.EncodeToString(sum[:3])
}

// Path joins names to the data directory.
func (i *Instance) Path(names ...string) string {
	return filepath.Join(append([]string{i.Dir}, names...)...)
}

func (i *Instance) PKI(name string) string { return i.Path("pki", name) }
func (i *Instance) RunDir() string         { return i.Path("run") }
func (i *Instance) LogDir() string         { return i.Path("log") }
func (i *Instance) AdminConfig() string    { return i.Path("admin.kubeconfig") }

// HostRunDir is where the instance keeps what must not outlive a boot.
func (i *Instance) HostRunDir() string { return filepath.Join(HostRun, i.ID) }

// HostRun has one directory an instance.
const HostRun = "/run/kubus"

// ServiceIP is the n-th address of the service range.
func (i *Instance) ServiceIP(n int) string {
	p, err := netip.ParsePrefix(i.ServiceCIDR)
	if err != nil {
		return ""
	}
	a := p.Masked().Addr()
	for ; n > 0; n-- {
		a = a.Next()
	}
	return a.String()
}

// APIPort is the port of Listen.
func (i *Instance) APIPort() int {
	_, text, _ := net.SplitHostPort(i.Listen)
	port, _ := strconv.Atoi(text)
	return port
}

// NodeAddress is where pods reach the API when Listen is an address that they
// cannot: the node's own, same port. Empty when Listen will do.
func (i *Instance) NodeAddress() string {
	host, _, err := net.SplitHostPort(i.Listen)
	if ip := net.ParseIP(host); err != nil || i.Nodes == 0 || host == "" || ip.IsUnspecified() || host == i.NodeIP {
		return ""
	}
	return net.JoinHostPort(i.NodeIP, strconv.Itoa(i.APIPort()))
}

// Address is host:port of a port of ours on loopback.
func (i *Instance) Address(purpose string) string {
	return fmt.Sprintf("127.0.0.1:%d", i.Ports[purpose])
}

// Load reads the instance of a data directory; nil when there is none yet.
// A directory of another layout is an error that says what to do.
func Load(dir string) (*Instance, error) {
	stamp, err := os.ReadFile(filepath.Join(dir, "version"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, emptyOrForeign(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the data directory: %w", err)
	}
	if got := strings.TrimSpace(string(stamp)); got != Layout {
		return nil, fmt.Errorf("the data directory %s has layout version %q, this kubus reads version %s: use the kubus that made it, or another --data-dir", dir, got, Layout)
	}
	data, err := os.ReadFile(filepath.Join(dir, "instance.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the data directory: %w", err)
	}
	i := &Instance{}
	if err := json.Unmarshal(data, i); err != nil {
		return nil, fmt.Errorf("reading %s: %w", filepath.Join(dir, "instance.json"), err)
	}
	i.Dir = dir
	return i, nil
}

func emptyOrForeign(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the data directory: %w", err)
	}
	for _, e := range entries {
		if e.Name() != "lock" && e.Name() != "lost+found" {
			return fmt.Errorf("%s holds %s but is no data directory of kubus (it has no version file): choose an empty --data-dir", dir, e.Name())
		}
	}
	return nil
}

// Save makes the data directory when needed and writes the choices.
func (i *Instance) Save() error {
	for _, dir := range []string{i.Dir, i.Path("pki"), i.RunDir(), i.LogDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("making the data directory: %w", err)
		}
	}
	if err := os.Chmod(i.Dir, 0o700); err != nil {
		return fmt.Errorf("closing the data directory to others: %w", err)
	}
	data, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return err
	}
	if err := WriteFile(i.Path("instance.json"), append(data, '\n'), 0o600); err != nil {
		return err
	}
	return WriteFile(i.Path("version"), []byte(Layout+"\n"), 0o600)
}

// WriteFile replaces a file at once: a reader sees the old or the new one, also
// after a power loss.
func WriteFile(path string, data []byte, mode os.FileMode) error {
	if err := file.ReplaceDurably(path, data, mode); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
