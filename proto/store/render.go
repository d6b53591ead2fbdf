package store

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
)

// Render gives the configuration file of a separate nats-server that equals the
// embedded one Start would run with the same options.
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
	b.WriteString("# Written by kubus; do not edit. One user a role, with the subjects it needs.\n")
	if o.Name != "" {
		fmt.Fprintf(&b, "server_name: %q\n", o.Name)
	}
	fmt.Fprintf(&b, "listen: %q\n", net.JoinHostPort(host, strconv.Itoa(port)))
	fmt.Fprintf(&b, "max_payload: %d\n", MaxPayload)
	fmt.Fprintf(&b, "jetstream {\n  store_dir: %q\n  sync_interval: always\n}\n", o.Dir)
	if o.CertFile != "" {
		fmt.Fprintf(&b, "tls {\n  cert_file: %q\n  key_file: %q\n  timeout: 5\n}\n", o.CertFile, o.KeyFile)
	}
	b.WriteString("authorization {\n  users: [\n")
	for _, u := range o.Users {
		publish, subscribe := Permissions(u.Role)
		fmt.Fprintf(&b, "    # %s\n    { nkey: %q, permissions: {\n", u.Role.Name, u.PublicKey)
		fmt.Fprintf(&b, "      publish: { allow: %s }\n      subscribe: { allow: %s }\n    } }\n", list(publish), list(subscribe))
	}
	b.WriteString("  ]\n}\n")
	return b.Bytes(), nil
}

func list(subjects []string) string {
	var b bytes.Buffer
	b.WriteString("[")
	for i, s := range subjects {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", s)
	}
	b.WriteString("]")
	return b.String()
}
