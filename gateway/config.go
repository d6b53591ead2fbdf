package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"kubus.dev/gateway/internal/admission"
	"kubus.dev/gateway/internal/audit"
	"kubus.dev/gateway/internal/auth"
	"kubus.dev/gateway/internal/bootstrap"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/kit"
)

// Config is what an operator writes.
type Config struct {
	kit.Common `yaml:",inline"`

	API API `yaml:"api"`
	// Replicas of the state streams: 1, or 3 on a cluster of NATS servers.
	Replicas int `yaml:"replicas"`
	// ServiceCIDR is where Services get their addresses from.
	ServiceCIDR string `yaml:"serviceCIDR"`
	// SecondServiceCIDR is a range of the other address family, for Services of two;
	// empty: the cluster has one family.
	SecondServiceCIDR string `yaml:"secondServiceCIDR"`
	// NodePorts is the range of node ports, first-last.
	NodePorts string `yaml:"nodePorts"`
	// SealKeyFile holds the key that keeps Secrets unreadable in the state log.
	SealKeyFile string `yaml:"sealKeyFile"`

	Signing        Signing        `yaml:"signing"`
	Quota          Quota          `yaml:"quota"`
	ServiceAccount ServiceAccount `yaml:"serviceAccount"`
	Authentication Authentication `yaml:"authentication"`
	Fairness       Fairness       `yaml:"fairness"`
	Audit          audit.Config   `yaml:"audit"`
	Admission      Admission      `yaml:"admission"`
	Aggregation    Aggregation    `yaml:"aggregation"`
}

// Authentication says who is believed, beside client certificates and tokens of
// ServiceAccounts.
type Authentication struct {
	// Anonymous lets requests without credentials in as system:anonymous; RBAC says
	// what that user may do.
	Anonymous bool `yaml:"anonymous"`
	// BootstrapTokens believes Secrets of the type bootstrap.kubernetes.io/token.
	BootstrapTokens bool `yaml:"bootstrapTokens"`
	// RequestHeader believes what a proxy in front says of its users.
	RequestHeader auth.RequestHeader `yaml:"requestHeader"`
}

// Signing says how the gateway knows what gateways wrote into the state log.
type Signing struct {
	// KeyFile has keys, one a line in base64: the first signs, all are believed. Empty:
	// whoever may publish in the account of the log is believed.
	KeyFile string `yaml:"keyFile"`
	// AdoptFile, where there is such a file, has a log that nobody signed believed and
	// signed at the start. The gateway removes the file then.
	AdoptFile string `yaml:"adoptFile"`
}

// Quota bounds what live objects take, as quantities such as 2Gi; 0 does not.
type Quota struct {
	Total     string `yaml:"total"`
	Namespace string `yaml:"namespace"`
	Cluster   string `yaml:"cluster"`
}

func (q Quota) limits() (l statelog.Quota, _ error) {
	var errs []error
	for path, value := range map[string]struct {
		text string
		to   *int64
	}{"total": {q.Total, &l.Total}, "namespace": {q.Namespace, &l.Namespace}, "cluster": {q.Cluster, &l.Cluster}} {
		n, err := resource.ParseQuantity(value.text)
		if err == nil && n.Sign() < 0 {
			err = errors.New("it is negative")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("quota.%s: %q is no size such as 2Gi: %w", path, value.text, err))
		}
		*value.to = n.Value()
	}
	return l, errors.Join(errs...)
}

// Fairness says how much is done at a time; who is served next is in the FlowSchemas
// and PriorityLevelConfigurations of the cluster.
type Fairness struct {
	// Seats are what all priority levels share; a request takes one or more. 0: so many
	// as the machine has use for, seatsPerCPU for each CPU.
	Seats int `yaml:"seats"`
}

// seatsPerCPU is few enough that a request that has a seat is served at once, and
// enough that writes, which wait for the disk, gather into one commit. Upstream's 600
// are for machines of about twenty CPUs.
const seatsPerCPU = 32

func (f Fairness) seats() int {
	if f.Seats > 0 {
		return f.Seats
	}
	return seatsPerCPU * runtime.GOMAXPROCS(0)
}

// Aggregation is how the gateway shows itself to the servers behind APIServices: a
// client certificate of the CA that they trust to name users. Empty: they are
// reached without one.
type Aggregation struct {
	CertFile string `yaml:"certFile"`
	KeyFile  string `yaml:"keyFile"`
	// CAFile is that CA, which those servers are told of; empty: they know it already.
	CAFile string `yaml:"caFile"`
}

// forwarder is what extension API servers are told of the certificate.
func (a Aggregation) forwarder() (auth.Forwarder, error) {
	if a.CAFile == "" {
		return auth.Forwarder{}, nil
	}
	pair, err := tls.LoadX509KeyPair(a.CertFile, a.KeyFile)
	if err != nil {
		return auth.Forwarder{}, fmt.Errorf("loading the certificate for API servers behind this one: %w", err)
	}
	ca, err := os.ReadFile(a.CAFile)
	if err != nil {
		return auth.Forwarder{}, fmt.Errorf("loading the CA of the certificate for API servers behind this one: %w", err)
	}
	return auth.Forwarder{CA: ca, Name: pair.Leaf.Subject.CommonName}, nil
}

// API says how HTTPS is served.
type API struct {
	Listen string `yaml:"listen"`
	// AlsoListen is a second address, for pods where Listen is one of loopback.
	AlsoListen   string `yaml:"alsoListen"`
	CertFile     string `yaml:"certFile"`
	KeyFile      string `yaml:"keyFile"`
	ClientCAFile string `yaml:"clientCAFile"` // of client certificates
	// Advertise is the address, host:port, at which pods reach this gateway; the
	// endpoint of the kubernetes Service. Empty: no endpoint is written.
	Advertise string `yaml:"advertise"`
}

// ServiceAccount says how tokens are made.
type ServiceAccount struct {
	KeyFile string `yaml:"keyFile"` // private key, PEM
	Issuer  string `yaml:"issuer"`
	// MaxTokenExpiration shortens tokens that ask for more; 0 does not.
	MaxTokenExpiration kit.Duration `yaml:"maxTokenExpiration"`
	// ExtendTokenExpiration has the tokens of pods live for a year, with warnings after
	// the hour they asked for, for clients that do not load them again.
	ExtendTokenExpiration bool `yaml:"extendTokenExpiration"`
}

// Admission says which plugins judge requests, by upstream's names.
type Admission struct {
	Enable  []string `yaml:"enable"`  // beside those that run by default
	Disable []string `yaml:"disable"` // of those
	// ConfigFile is an AdmissionConfiguration of apiserver.config.k8s.io/v1.
	ConfigFile string `yaml:"configFile"`
}

func (a Admission) config() admission.Config {
	return admission.Config{Enable: a.Enable, Disable: a.Disable, File: a.ConfigFile}
}

// Default serves on this machine only.
func Default() Config {
	return Config{
		Common:         kit.DefaultCommon(),
		API:            API{Listen: "127.0.0.1:6443"},
		Replicas:       1,
		ServiceCIDR:    "10.96.0.0/16",
		NodePorts:      "30000-32767",
		Quota:          Quota{Total: "2Gi", Namespace: "512Mi", Cluster: "512Mi"},
		ServiceAccount: ServiceAccount{Issuer: "https://kubernetes.default.svc.cluster.local", ExtendTokenExpiration: true},
		Authentication: Authentication{Anonymous: true, RequestHeader: auth.DefaultRequestHeader()},
	}
}

// Validate reports everything that is wrong at once, with its path.
func (c Config) Validate() error {
	var errs []error
	need := func(path, value string) {
		if value == "" {
			errs = append(errs, fmt.Errorf("%s: must be set", path))
		}
	}
	need("api.certFile", c.API.CertFile)
	need("api.keyFile", c.API.KeyFile)
	need("api.clientCAFile", c.API.ClientCAFile)
	need("sealKeyFile", c.SealKeyFile)
	need("serviceAccount.keyFile", c.ServiceAccount.KeyFile)
	need("serviceAccount.issuer", c.ServiceAccount.Issuer)
	if c.Aggregation.CAFile != "" && c.Aggregation.CertFile == "" {
		errs = append(errs, errors.New("aggregation.caFile is of aggregation.certFile, which is not set"))
	}
	if (c.Aggregation.CertFile == "") != (c.Aggregation.KeyFile == "") {
		errs = append(errs, errors.New("aggregation: certFile and keyFile go together"))
	}
	if _, _, err := net.SplitHostPort(c.API.Listen); err != nil {
		errs = append(errs, fmt.Errorf("api.listen: %w", err))
	}
	if c.API.AlsoListen != "" {
		if _, _, err := net.SplitHostPort(c.API.AlsoListen); err != nil {
			errs = append(errs, fmt.Errorf("api.alsoListen: %w", err))
		}
	}
	if _, err := c.serviceCIDRs(); err != nil {
		errs = append(errs, err)
	}
	if _, err := c.Quota.limits(); err != nil {
		errs = append(errs, err)
	}
	if c.Signing.AdoptFile != "" && c.Signing.KeyFile == "" {
		errs = append(errs, errors.New("signing.adoptFile: there is no signing.keyFile"))
	}
	errs = append(errs, c.Audit.Validate()...)
	if d := time.Duration(c.ServiceAccount.MaxTokenExpiration); d != 0 && (d < time.Hour || d > 1<<32*time.Second) {
		errs = append(errs, fmt.Errorf("serviceAccount.maxTokenExpiration: %v is not between 1 hour and 2^32 seconds", d))
	}
	if c.Fairness.Seats < 0 {
		errs = append(errs, fmt.Errorf("fairness.seats: %d is no number of requests", c.Fairness.Seats))
	}
	if _, _, err := c.nodePorts(); err != nil {
		errs = append(errs, fmt.Errorf("nodePorts: %w", err))
	}
	if c.Replicas != 1 && c.Replicas != 3 && c.Replicas != 5 {
		errs = append(errs, fmt.Errorf("replicas: %d is none of 1, 3, 5", c.Replicas))
	}
	if _, _, err := c.advertised(); err != nil {
		errs = append(errs, fmt.Errorf("api.advertise: %w", err))
	}
	if err := c.Admission.config().Validate(); err != nil {
		errs = append(errs, fmt.Errorf("admission: %w", err))
	}
	return errors.Join(errs...)
}

// serviceCIDRs gives the range of the default family first.
func (c Config) serviceCIDRs() ([]netip.Prefix, error) {
	first, err := netip.ParsePrefix(c.ServiceCIDR)
	switch {
	case err != nil:
		return nil, fmt.Errorf("serviceCIDR: %w", err)
	case !first.Addr().Is4() || first.Bits() > 30:
		return nil, fmt.Errorf("serviceCIDR: %s is no IPv4 range of at least four addresses", c.ServiceCIDR)
	case c.SecondServiceCIDR == "":
		return []netip.Prefix{first}, nil
	}
	second, err := netip.ParsePrefix(c.SecondServiceCIDR)
	if err != nil {
		return nil, fmt.Errorf("secondServiceCIDR: %w", err)
	}
	if !second.Addr().Is6() || second.Bits() < 64 || second.Bits() > 126 {
		return nil, fmt.Errorf("secondServiceCIDR: %s is no IPv6 range between /64 and /126", c.SecondServiceCIDR)
	}
	return []netip.Prefix{first, second}, nil
}

// nodePorts gives the first and last port of the range.
func (c Config) nodePorts() (first, last int, err error) {
	if n, err := fmt.Sscanf(c.NodePorts, "%d-%d", &first, &last); n != 2 || err != nil || first < 1 || last > 65535 || first > last {
		return 0, 0, fmt.Errorf("%q is no range of ports such as 30000-32767", c.NodePorts)
	}
	return first, last, nil
}

func (c Config) advertised() (address string, port int32, err error) {
	if c.API.Advertise == "" {
		return "", 0, nil
	}
	host, text, err := net.SplitHostPort(c.API.Advertise)
	if err != nil {
		return "", 0, err
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || !addr.Is4() {
		return "", 0, fmt.Errorf("%q is no IPv4 address", host)
	}
	number, err := strconv.ParseUint(text, 10, 16)
	return addr.String(), int32(number), err
}

// apiService is the kubernetes Service: the first address of the range. The
// configuration is valid.
func (c Config) apiService() bootstrap.APIService {
	s := bootstrap.APIService{Port: 6443}
	if prefix, err := netip.ParsePrefix(c.ServiceCIDR); err == nil {
		s.ClusterIP = prefix.Masked().Addr().Next().String()
	}
	if address, port, err := c.advertised(); err == nil && address != "" {
		// A loopback address means nothing inside a pod.
		if !netip.MustParseAddr(address).IsLoopback() {
			s.Address, s.Port = address, port
		}
	}
	return s
}

// serviceCIDRTexts are the ranges as objects name them. The configuration is valid.
func (c Config) serviceCIDRTexts() (out []string) {
	prefixes, err := c.serviceCIDRs()
	if err != nil {
		return nil
	}
	for _, p := range prefixes {
		out = append(out, p.Masked().String())
	}
	return out
}

func (c Config) tls() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(c.API.CertFile, c.API.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("loading the serving certificate: %w", err)
	}
	// Clients look here for which of their certificates to show; nobody is believed by it.
	pool, _, err := c.clientCAs()
	if err != nil {
		return nil, err
	}
	proxy, err := c.Authentication.RequestHeader.CA()
	if err != nil {
		return nil, err
	}
	pool.AppendCertsFromPEM(proxy)
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert, ClientCAs: pool,
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
	}, nil
}

// proxyCertificate gives what shows the gateway to other servers; nil without one.
func (c Config) proxyCertificate() (func() (*tls.Certificate, error), error) {
	if c.Aggregation.CertFile == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(c.Aggregation.CertFile, c.Aggregation.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("loading the aggregation certificate: %w", err)
	}
	return func() (*tls.Certificate, error) { return &cert, nil }, nil
}

func (c Config) clientCAs() (*x509.CertPool, []byte, error) {
	pem, err := os.ReadFile(c.API.ClientCAFile)
	if err != nil {
		return nil, nil, fmt.Errorf("loading the client CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, nil, fmt.Errorf("loading the client CA: %s holds no certificate", c.API.ClientCAFile)
	}
	return pool, pem, nil
}
