package faults

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// node is one nats-server with a store of its own.
type node struct {
	*process
	name, address, monitor string
	disk                   *disk // nil: a directory
}

// stores are the nats-servers of a cluster, one or three.
type stores []*node

// storeOptions say how the servers keep what they are given.
type storeOptions struct {
	servers int
	// sync is the server's sync_interval; empty: always.
	sync string
	// image has each store on a file system of its own, whose power can be cut.
	image bool
}

var local = &http.Client{Timeout: 5 * time.Second}

func startStores(t testing.TB, dir string, o storeOptions) stores {
	t.Helper()
	var nodes stores
	var routes []string
	cluster := make([]string, o.servers)
	for i := range o.servers {
		cluster[i] = freeAddress(t)
		routes = append(routes, fmt.Sprintf("%q", "nats://"+cluster[i]))
	}
	for i := range o.servers {
		n := &node{name: fmt.Sprint("store-", i), address: freeAddress(t), monitor: freeAddress(t)}
		data := filepath.Join(dir, n.name)
		if err := os.MkdirAll(data, 0o700); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("server_name: %q\nlisten: %q\nhttp: %q\nmax_payload: 8388608\njetstream { store_dir: %q, sync_interval: %s }\n",
			n.name, n.address, n.monitor, data, or2(o.sync, "always"))
		if o.servers > 1 {
			text += fmt.Sprintf("cluster { name: faults, listen: %q, no_advertise: true, routes: [%s] }\n", cluster[i], strings.Join(routes, ", "))
		}
		file := filepath.Join(dir, n.name+".conf")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{program(t, "nats-server"), "-c", file}
		if o.image {
			n.disk = newDisk(t, filepath.Join(dir, n.name+".img"), data)
			args = n.disk.run(args)
		}
		n.process = launch(t, n.name, dir, func() error { return answers(local, "http://"+n.monitor+"/healthz") }, args...)
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		n.wait()
	}
	return nodes
}

func or2(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// urls are where a gateway reaches the servers.
func (s stores) urls() []string {
	var out []string
	for _, n := range s {
		out = append(out, n.address)
	}
	return out
}

// leader gives the server that leads the stream of the objects.
func (s stores) leader(t testing.TB) *node {
	t.Helper()
	var found *node
	eventually(t, time.Minute, "a server leads STATE", func() error {
		for _, n := range s {
			name, err := n.leads()
			if err != nil || name == "" {
				continue
			}
			for _, l := range s {
				if l.name == name {
					found = l
					return nil
				}
			}
		}
		return fmt.Errorf("none does")
	})
	return found
}

// leads gives the leader of STATE as a server knows it.
func (n *node) leads() (string, error) {
	resp, err := local.Get("http://" + n.monitor + "/jsz?streams=1&accounts=1")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var all struct {
		Accounts []struct {
			Streams []struct {
				Name    string `json:"name"`
				Cluster struct {
					Leader string `json:"leader"`
				} `json:"cluster"`
			} `json:"stream_detail"`
		} `json:"account_details"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		return "", err
	}
	for _, a := range all.Accounts {
		for _, s := range a.Streams {
			if s.Name == "STATE" {
				return s.Cluster.Leader, nil
			}
		}
	}
	return "", nil
}
