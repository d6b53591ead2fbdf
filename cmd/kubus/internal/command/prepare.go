package command

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/kubeconfig"
	"kubus.dev/cmd/kubus/internal/pki"
	"kubus.dev/cmd/kubus/internal/preflight"
	"kubus.dev/cmd/kubus/internal/roster"
	"kubus.dev/cmd/kubus/internal/serve"
)

// network settles the addresses: ranges that nobody else on the host uses, the
// node's address, and our own ports.
func network(i *instance.Instance, fresh bool, f upFlags) error {
	if i.Nodes > 0 {
		if i.NodeIP == "" {
			ip, err := nodeIP()
			if err != nil {
				return err
			}
			i.NodeIP = ip
		}
		used, err := instance.UsedRanges(i.ID, fresh)
		if err != nil {
			return err
		}
		if i.PodCIDR, err = instance.FreeRange(i.PodCIDR, !fresh || f.changed("pod-cidr"), used); err != nil {
			return fmt.Errorf("--pod-cidr: %w", err)
		}
		if i.ServiceCIDR, err = instance.FreeRange(i.ServiceCIDR, !fresh || f.changed("service-cidr"), used); err != nil {
			return fmt.Errorf("--service-cidr: %w", err)
		}
		for what, text := range map[string]string{"pods": i.PodCIDR, "Services": i.ServiceCIDR} {
			if p, err := netip.ParsePrefix(text); err == nil {
				used = append(used, instance.Used{Prefix: p, By: "this cluster's " + what})
			}
		}
		settled := !fresh && len(i.Further) > 0
		if i.NodeCIDR, err = instance.FreeRange(i.NodeCIDR, settled || f.changed("node-cidr"), used); err != nil {
			return fmt.Errorf("--node-cidr: %w", err)
		}
	} else if i.NodeIP == "" {
		host, _, _ := net.SplitHostPort(i.Listen)
		if i.NodeIP = host; host == "" || net.ParseIP(host).IsUnspecified() {
			i.NodeIP = "127.0.0.1"
		}
	}
	for _, purpose := range ports(i) {
		if _, err := i.ChoosePort(purpose, instance.Taken); err != nil {
			return err
		}
	}
	return nil
}

// ports lists the purposes for which the instance needs a port of its own.
func ports(i *instance.Instance) []string {
	var list []string
	if i.Nodes > 0 {
		list = append(list, "dns")
	}
	if i.Store == "" {
		list = append(list, "bus")
	}
	if i.Form == instance.AllInOne {
		return append(list, serve.HealthPort)
	}
	for _, s := range roster.For(i) {
		list = append(list, roster.HealthPort(s.Name))
	}
	return list
}

// listening lists the addresses that must be free before a start.
func listening(i *instance.Instance) []string {
	addresses := []string{i.Listen}
	if extra := i.NodeAddress(); extra != "" {
		addresses = append(addresses, extra)
	}
	for _, purpose := range ports(i) {
		if purpose == "dns" {
			addresses = append(addresses, net.JoinHostPort(i.NodeIP, strconv.Itoa(i.Ports["dns"])))
		} else {
			addresses = append(addresses, i.Address(purpose))
		}
	}
	return addresses
}

// server is the URL by which the operator reaches the API.
func server(i *instance.Instance) string {
	host, port, _ := net.SplitHostPort(i.Listen)
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "https://" + net.JoinHostPort(host, port)
}

// keys makes the instance's keys and certificates.
func keys(i *instance.Instance) error {
	host, _, _ := net.SplitHostPort(i.Listen)
	names := append(pki.APINames(i.ServiceIP(1)), i.NodeName, i.NodeIP)
	if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
		names = append(names, host)
	}
	o := pki.Options{Dir: i.Path("pki"), Names: names, Clients: roster.KeyNames(i), Now: time.Now()}
	if _, machine := i.NodeNetwork(); machine.IsValid() {
		o.BusNames = []string{machine.String()}
	}
	if err := pki.Ensure(o); err != nil {
		return err
	}
	if i.Store != "" && i.StoreNkey != "" {
		return roster.WriteAccounts(i)
	}
	return nil
}

// entry is what a kubeconfig needs to reach the instance.
func entry(i *instance.Instance, name string) (kubeconfig.Entry, error) {
	e := kubeconfig.Entry{Name: name, Server: server(i)}
	for file, to := range map[string]*[]byte{"ca.crt": &e.CA, "admin.crt": &e.ClientCert, "admin.key": &e.Key} {
		data, err := os.ReadFile(i.PKI(file))
		if err != nil {
			return e, fmt.Errorf("reading the administrator's keys: %w", err)
		}
		*to = data
	}
	return e, nil
}

// access writes the kubeconfig files. It gives the user's file and whether its
// current context is this cluster.
func access(i *instance.Instance, flag string) (file string, current bool, err error) {
	own, err := entry(i, "kubus")
	if err != nil {
		return "", false, err
	}
	if err := os.Remove(i.AdminConfig()); err != nil && !os.IsNotExist(err) {
		return "", false, err
	}
	if _, err := kubeconfig.Merge(i.AdminConfig(), own, -1, -1); err != nil {
		return "", false, err
	}
	uid, gid := -1, -1
	file = flag
	if file == "" {
		if file, uid, gid, err = kubeconfig.UserFile(os.Getenv); err != nil {
			return "", false, fmt.Errorf("looking for the user's kubeconfig: %w", err)
		}
	} else if file, err = absolutePath(file); err != nil {
		return "", false, err
	}
	if i.Context == "" {
		if i.Context, err = contextName(file, i, own.CA); err != nil {
			return "", false, err
		}
	}
	own.Name = i.Context
	if current, err = kubeconfig.Merge(file, own, uid, gid); err != nil {
		return "", false, err
	}
	for _, known := range i.Kubeconfigs {
		if known == file {
			return file, current, nil
		}
	}
	i.Kubeconfigs = append(i.Kubeconfigs, file)
	return file, current, nil
}

// contextName is kubus, unless the file has another living cluster by that name.
func contextName(file string, i *instance.Instance, ca []byte) (string, error) {
	_, there, err := kubeconfig.Server(file, "kubus")
	if err != nil {
		return "", err
	}
	claims, err := instance.Claims(i.ID)
	if err != nil {
		return "", err
	}
	if len(there) == 0 || string(there) == string(ca) {
		return "kubus", nil
	}
	for _, c := range claims {
		other := instance.Instance{Dir: c.Dir}
		if data, err := os.ReadFile(other.PKI("ca.crt")); err == nil && string(data) == string(there) {
			return "kubus-" + i.ID, nil
		}
	}
	return "kubus", nil // what it named is gone
}

func checkMachine(i *instance.Instance) error {
	return preflight.Check(preflight.Options{DataDir: i.Dir, Node: i.Nodes > 0, Ports: listening(i)})
}
