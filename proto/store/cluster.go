package store

import (
	"errors"
	"fmt"
	"io"
)

// Cluster is how a server finds the others with which it keeps the streams.
type Cluster struct {
	// Name is the same in all of them.
	Name string
	// Listen is host:port for the others.
	Listen string
	// Routes are host:port of the others; its own may be among them.
	Routes []string
	// CertFile and KeyFile prove to the others that it is one of them, and CAFile is what
	// they prove it by: no other credential opens a route.
	CertFile, KeyFile, CAFile string
}

func (c *Cluster) validate() error {
	switch {
	case c.Name == "" || c.Listen == "" || len(c.Routes) == 0:
		return errors.New("store: a cluster needs a name, an address to listen on and routes")
	case c.CertFile == "" || c.KeyFile == "" || c.CAFile == "":
		return errors.New("store: the servers of a cluster know each other by certificates: a file is missing")
	}
	return nil
}

// write gives the section of the server's configuration. Clients are told of no other
// server: they have all addresses, under the names that are in the certificates.
func (c *Cluster) write(w io.Writer) {
	fmt.Fprintf(w, "cluster {\n  name: %q\n  listen: %q\n  no_advertise: true\n", c.Name, c.Listen)
	fmt.Fprintf(w, "  tls {\n    cert_file: %q\n    key_file: %q\n    ca_file: %q\n    verify: true\n    timeout: 5\n  }\n", c.CertFile, c.KeyFile, c.CAFile)
	routes := make([]string, len(c.Routes))
	for i, r := range c.Routes {
		routes[i] = "tls://" + r
	}
	fmt.Fprintf(w, "  routes: %s\n}\n", list(routes))
}
