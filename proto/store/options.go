package store

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"

	"kubus.dev/proto"
)

// MaxPayload is the largest message, in bytes: an object of the API's 3 MiB limit
// fits in any encoding, and so does a bulk request of a thousand writes.
const MaxPayload = 8 << 20

// Options say where a server keeps its data and who may reach it.
type Options struct {
	// Dir holds the streams.
	Dir string
	// Name is the server's own; two servers of a cluster never share one.
	Name string
	// Listen is host:port for connections from other processes; port 0 picks a
	// free one. Empty: connections from this process only.
	Listen string
	// Users may connect. Must be set when Listen is; without Listen and without
	// users everybody in the process may do everything.
	Users []User
	// CertFile and KeyFile turn TLS on for connections from other processes.
	CertFile, KeyFile string
	// Cluster makes it one of several servers that keep the streams together; nil: it is alone.
	Cluster *Cluster
	// Unsynced leaves the disk to the kernel: what was acknowledged does not survive a
	// loss of power. For tests that throw their data away.
	Unsynced bool
	Logger   *zap.Logger
}

// User is one credential of the bus.
type User struct {
	// PublicKey is the user nkey (U…) whose seed the client holds.
	PublicKey string
	Role      proto.Role
}

func (o *Options) validate() error {
	if o.Dir == "" {
		return errors.New("store: no directory given")
	}
	if o.Listen != "" && len(o.Users) == 0 {
		return errors.New("store: a listening server needs users")
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		return errors.New("store: a certificate needs its key and the other way round")
	}
	if o.Cluster != nil {
		if o.Listen == "" {
			return errors.New("store: a server of a cluster has to listen")
		}
		return o.Cluster.validate()
	}
	return nil
}

// native gives the server's own form of the options: what the configuration of a
// separate server says, and how it is embedded.
func (o *Options) native() (*server.Options, error) {
	var text bytes.Buffer
	o.write(&text)
	n := &server.Options{}
	if err := n.ProcessConfigString(text.String()); err != nil {
		return nil, fmt.Errorf("store: its own configuration: %w", err)
	}
	n.DontListen, n.NoSigs, n.NoLog, n.DisableJetStreamBanner = o.Listen == "", true, true, true
	n.SyncAlways = n.SyncAlways && !o.Unsynced
	if o.Listen != "" {
		host, port, err := splitListen(o.Listen)
		if err != nil {
			return nil, err
		}
		n.Host, n.Port = host, port
		if port == 0 {
			n.Port = server.RANDOM_PORT
		}
	}
	if o.CertFile != "" {
		config, err := server.GenTLSConfig(&server.TLSConfigOpts{CertFile: o.CertFile, KeyFile: o.KeyFile})
		if err != nil {
			return nil, fmt.Errorf("store: reading the certificate: %w", err)
		}
		n.TLS, n.TLSConfig, n.TLSTimeout = true, config, 5
	}
	return n, nil
}

func splitListen(listen string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, fmt.Errorf("store: listening address %q: %w", listen, err)
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("store: listening address %q: %q is no port", listen, text)
	}
	return host, port, nil
}
