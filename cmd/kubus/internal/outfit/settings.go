package outfit

import (
	"net"

	"go.yaml.in/yaml/v3"
)

// settings are what is other than where kubus keeps the processes itself: several of a
// service may run, on whose word nobody waits, and each has an address of its own.
func (p *Plan) settings() []byte {
	type section = map[string]any
	health := net.JoinHostPort("0.0.0.0", healthPort)
	shared := section{"listen": health, "leaderElection": true, "instance": ""}
	with := func(more section) section {
		out := section{}
		for _, from := range []section{shared, more} {
			for k, v := range from {
				out[k] = v
			}
		}
		return out
	}
	api := section{"listen": net.JoinHostPort("0.0.0.0", apiPort), "alsoListen": "", "advertise": ""}
	if p.API != "" {
		api["advertise"] = net.JoinHostPort(p.API, apiPort)
	}
	all := map[string]section{
		"gateway":     {"listen": health, "api": api, "replicas": len(p.Servers), "signing": section{"adoptFile": ""}},
		"status":      with(section{"replicas": len(p.Servers), "nodeAddresses": p.nodeAddresses()}),
		"events":      with(section{"replicas": len(p.Servers)}),
		"controllers": shared,
		"scheduler":   shared,
		"cloud":       shared,
		"metrics":     {"listen": health},
		"agent":       {"listen": net.JoinHostPort("127.0.0.1", "10248")},
		"proxy":       {"listen": net.JoinHostPort("127.0.0.1", "10249")},
	}
	if p.DNS != "" {
		all["dns"] = section{
			"listen": health, "address": net.JoinHostPort(p.DNS, dnsPort), "node": "", "instance": "", "clients": p.nodeAddresses(),
		}
	}
	data, err := yaml.Marshal(all)
	if err != nil {
		panic(err) // of maps and texts
	}
	return data
}

// nodeAddresses are where nodes may have theirs.
func (p *Plan) nodeAddresses() []string {
	if p.NodeCIDR != "" {
		return []string{p.NodeCIDR}
	}
	out := []string{}
	for _, n := range p.Nodes {
		out = append(out, n.IP)
	}
	return out
}
