package outfit

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/kubeconfig"
	"kubus.dev/cmd/kubus/internal/pki"
	"kubus.dev/cmd/kubus/internal/roster"
	"kubus.dev/proto/store"
)

// AdminFile is the operator's kubeconfig, and keysDir has all keys: no process sees them.
const (
	AdminFile = "admin.kubeconfig"
	keysDir   = "pki"
)

// reserved are the names that processes have of themselves.
func reserved() []string {
	names := []string{keysDir, AdminFile}
	for _, s := range roster.All() {
		if s.Place != roster.EveryNode && s.Name != roster.GatewayName {
			names = append(names, s.Name)
		}
	}
	return names
}

// Write fills dir.
func Write(p *Plan, dir string) error {
	if err := p.Validate(); err != nil {
		return err
	}
	w := &writer{plan: p, dir: dir, seen: p.instance(Mount), kept: p.instance(dir)}
	if err := w.keys(); err != nil {
		return err
	}
	for _, server := range p.Servers {
		if err := w.server(server); err != nil {
			return err
		}
	}
	if err := w.services(); err != nil {
		return err
	}
	return w.admin()
}

// instance is the cluster as the roster knows one, with its files below dir.
func (p *Plan) instance(dir string) *instance.Instance {
	i := &instance.Instance{
		Dir: dir, ID: "kubus", Form: instance.Services, Listen: ":" + apiPort, Nodes: len(p.Nodes), NodeIP: p.DNS, NodeName: "dns",
		PodCIDR: p.PodCIDR, ServiceCIDR: p.ServiceCIDR, NodeCIDR: p.NodeCIDR, PodNetwork: p.PodNetwork,
		Store: "tls://" + strings.Join(p.addresses(busPort), ",tls://"), StoreNkey: roster.OwnKeys, StoreCA: filepath.Join(dir, keysDir, "bus-ca.crt"),
		Ports: map[string]int{},
	}
	for n, node := range p.Nodes { // for their keys
		if n == 0 {
			i.NodeName = node.Name
		} else {
			i.Further = append(i.Further, instance.Further{Name: node.Name, Number: n + 1})
		}
	}
	return i
}

// writer writes one plan. The instance is the same twice: as the processes see its files,
// and where these are now.
type writer struct {
	plan       *Plan
	dir        string
	seen, kept *instance.Instance
}

// keys makes what is missing of the cluster's keys and certificates.
func (w *writer) keys() error {
	p := w.plan
	names := slices.Concat(pki.APINames(w.kept.ServiceIP(1)), p.Gateways, p.APINames)
	if p.API != "" {
		names = append(names, p.API)
	}
	return pki.Ensure(pki.Options{
		Dir: w.kept.Path(keysDir), Names: names, Clients: roster.KeyNames(w.kept), Servers: p.Servers, Now: time.Now(),
	})
}

// server writes what one of the NATS servers needs.
func (w *writer) server(name string) error {
	cert, key, ca := w.seen.PKI("bus-"+name+".crt"), w.seen.PKI("bus-"+name+".key"), w.seen.PKI("bus-ca.crt")
	own, err := roster.Store(w.kept)
	if err != nil {
		return err
	}
	o := store.Options{
		Dir: "/var/lib/kubus/store", Name: name, Listen: net.JoinHostPort("0.0.0.0", busPort), Users: own.Users, CertFile: cert, KeyFile: key,
	}
	if len(w.plan.Servers) > 1 {
		o.Cluster = &store.Cluster{
			Name: "kubus", Listen: net.JoinHostPort("0.0.0.0", routePort), Routes: w.plan.addresses(routePort),
			CertFile: cert, KeyFile: key, CAFile: ca,
		}
	}
	config, err := store.Render(o)
	if err != nil {
		return err
	}
	return w.folder(name, "nats-server.conf", config, cert, key, ca)
}

// services writes what every service needs.
func (w *writer) services() error {
	over := []roster.Settings{{Name: "what follows from the plan", Data: w.plan.settings()}}
	if file := w.plan.Settings; file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("reading the settings: %w", err)
		}
		over = append(over, roster.Settings{Name: file, Data: data})
	}
	central, err := roster.Layered(roster.All(), w.seen, w.seen.Machine(), over...)
	if err != nil {
		return err
	}
	for _, s := range roster.All() {
		names := []string{s.Name}
		switch {
		case s.Name == roster.GatewayName:
			names = w.plan.Gateways
		case s.Place == roster.EveryNode, s.Name == "dns" && w.plan.DNS == "":
			continue
		}
		for _, name := range names {
			if err := w.service(name, s.Name, central[s.Name]); err != nil {
				return err
			}
		}
	}
	for _, n := range w.plan.Nodes {
		at := instance.Node{Name: n.Name, IP: n.IP, ID: n.Name, Dir: "/var/lib/kubus", RunDir: "/run/kubus/" + n.Name, Number: 1}
		own, err := roster.Layered(roster.OfNode(), w.seen, at, over...)
		if err != nil {
			return err
		}
		for _, s := range roster.OfNode() {
			if err := w.service(nodeProcess(n.Name, s.Name), s.Name, own[s.Name]); err != nil {
				return err
			}
		}
	}
	return nil
}

// nodeProcess is what the folder of a node's service is called.
func nodeProcess(node, service string) string { return node + "-" + service }

// service writes a service's folder: its configuration, and the keys that this names.
func (w *writer) service(name, service string, config any) error {
	data, err := yaml.Marshal(config)
	if err != nil {
		return fmt.Errorf("writing the configuration of %s: %w", name, err)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		return fmt.Errorf("writing the configuration of %s: %w", name, err)
	}
	head := "# Written by `kubus config`; see services/" + service + "/config.example.yaml.\n"
	return w.folder(name, service+".yaml", append([]byte(head), data...), w.keysIn(&root)...)
}

// keysIn lists the files of keys that a configuration names.
func (w *writer) keysIn(n *yaml.Node) []string {
	var out []string
	if n.Kind == yaml.ScalarNode && strings.HasPrefix(n.Value, w.seen.Path(keysDir)+"/") {
		out = append(out, n.Value)
	}
	for _, child := range n.Content {
		out = append(out, w.keysIn(child)...)
	}
	return out
}

// folder writes a process's folder. keys are files as it will see them, or patterns. What
// was in its keys and is not among them goes.
func (w *writer) folder(name, file string, config []byte, keys ...string) error {
	dir := filepath.Join(w.dir, name)
	wanted := map[string]bool{}
	for _, key := range keys {
		pattern := filepath.Join(w.dir, strings.TrimPrefix(key, Mount))
		found, err := filepath.Glob(pattern)
		if err != nil {
			return fmt.Errorf("looking for %s: %w", pattern, err)
		}
		if len(found) == 0 {
			return fmt.Errorf("%s needs %s, which is not there", name, pattern)
		}
		for _, from := range found {
			within, err := filepath.Rel(w.dir, from)
			if err != nil {
				return err
			}
			wanted[within] = true
			if err := copyFile(from, filepath.Join(dir, within)); err != nil {
				return err
			}
		}
	}
	if err := prune(dir, wanted); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the folder of %s: %w", name, err)
	}
	return instance.WriteFile(filepath.Join(dir, file), config, 0o600)
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("reading a key: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return fmt.Errorf("making the folder of a key: %w", err)
	}
	return instance.WriteFile(to, data, 0o600)
}

// prune removes the keys below dir that are not wanted.
func prune(dir string, wanted map[string]bool) error {
	return filepath.WalkDir(filepath.Join(dir, keysDir), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		within, err := filepath.Rel(dir, path)
		if err != nil || wanted[within] {
			return err
		}
		return os.Remove(path)
	})
}

// admin writes the operator's kubeconfig.
func (w *writer) admin() error {
	host := w.plan.API
	if len(w.plan.APINames) > 0 {
		host = w.plan.APINames[0]
	}
	if host == "" {
		host = w.plan.Gateways[0]
	}
	e := kubeconfig.Entry{Name: "kubus", Server: "https://" + net.JoinHostPort(host, apiPort)}
	for file, to := range map[string]*[]byte{"ca.crt": &e.CA, "admin.crt": &e.ClientCert, "admin.key": &e.Key} {
		data, err := os.ReadFile(w.kept.PKI(file))
		if err != nil {
			return fmt.Errorf("reading the operator's keys: %w", err)
		}
		*to = data
	}
	file := filepath.Join(w.dir, AdminFile)
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_, err := kubeconfig.Merge(file, e, -1, -1)
	return err
}
