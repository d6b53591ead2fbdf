package store

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
)

// Render gives the configuration file of a separate nats-server. The embedded one
// reads the same text.
func Render(o Options) ([]byte, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.Listen == "" {
		return nil, fmt.Errorf("store: a separate server needs a listening address")
	}
	host, port, err := splitListen(o.Listen)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("# Written by kubus; do not edit. One account a role, with what may cross between them.\n")
	fmt.Fprintf(&b, "listen: %q\n", net.JoinHostPort(host, strconv.Itoa(port)))
	if o.CertFile != "" {
		fmt.Fprintf(&b, "tls {\n  cert_file: %q\n  key_file: %q\n  timeout: 5\n}\n", o.CertFile, o.KeyFile)
	}
	o.write(&b)
	return b.Bytes(), nil
}

// RenderAccounts gives the part of a configuration that has the accounts and their
// users, for the file of a nats-server that is not ours to include.
func RenderAccounts(users []User) []byte {
	var b bytes.Buffer
	b.WriteString("accounts {\n")
	for _, a := range accounts(users) {
		a.write(&b)
	}
	b.WriteString("}\n")
	return b.Bytes()
}

// write gives what the embedded server and a separate one have in common.
func (o *Options) write(b *bytes.Buffer) {
	if o.Name != "" {
		fmt.Fprintf(b, "server_name: %q\n", o.Name)
	}
	fmt.Fprintf(b, "max_payload: %d\n", MaxPayload)
	fmt.Fprintf(b, "jetstream {\n  store_dir: %q\n  sync_interval: always\n}\n", o.Dir)
	if o.Cluster != nil {
		o.Cluster.write(b)
	}
	if len(o.Users) > 0 {
		b.Write(RenderAccounts(o.Users))
	}
}
