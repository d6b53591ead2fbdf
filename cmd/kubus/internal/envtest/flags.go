package envtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"kubus.dev/cmd/kubus/internal/pki"
	"kubus.dev/gateway"
)

// APIServerFlags are those of kube-apiserver that mean something here.
type APIServerFlags struct {
	BindAddress           string
	SecurePort            int
	CertDir               string
	CertFile, KeyFile     string
	ClientCAFile          string
	ServiceAccountKey     string
	ServiceAccountIssuer  string
	ServiceClusterIPRange string
	EtcdServers           []string
	AuthorizationMode     []string
	EnableAdmission       []string
	DisableAdmission      []string
	AdmissionConfig       string
}

// Add defines the flags as kube-apiserver calls them.
func (f *APIServerFlags) Add(flags *pflag.FlagSet) {
	flags.StringVar(&f.BindAddress, "bind-address", "127.0.0.1", "address to serve on")
	flags.IntVar(&f.SecurePort, "secure-port", 6443, "port to serve on")
	flags.StringVar(&f.CertDir, "cert-dir", "/var/run/kubernetes", "directory of apiserver.crt and apiserver.key")
	flags.StringVar(&f.CertFile, "tls-cert-file", "", "serving certificate, instead of that in cert-dir")
	flags.StringVar(&f.KeyFile, "tls-private-key-file", "", "key of tls-cert-file")
	flags.StringVar(&f.ClientCAFile, "client-ca-file", "", "authority of client certificates")
	flags.StringVar(&f.ServiceAccountKey, "service-account-signing-key-file", "", "private key that signs tokens")
	flags.StringVar(&f.ServiceAccountIssuer, "service-account-issuer", gateway.Default().ServiceAccount.Issuer, "issuer in tokens")
	flags.StringVar(&f.ServiceClusterIPRange, "service-cluster-ip-range", "10.0.0.0/24", "addresses of Services, one range of each family")
	flags.StringSliceVar(&f.EtcdServers, "etcd-servers", nil, "address of the etcd beside this program")
	flags.StringSliceVar(&f.AuthorizationMode, "authorization-mode", []string{"RBAC"}, "RBAC, with or without Node: both are always on")
	flags.StringSliceVar(&f.EnableAdmission, "enable-admission-plugins", nil, "admission plugins beside those that run by default")
	flags.StringVar(&f.AdmissionConfig, "admission-control-config-file", "", "configuration of admission plugins")
	flags.StringSliceVar(&f.DisableAdmission, "disable-admission-plugins", nil, "admission plugins to leave out")
}

// decisive are the beginnings of flags that say who may do what: to ignore one would
// make a test pass that should not.
var decisive = []string{
	"token-auth-file", "oidc-", "authentication-", "authorization-webhook-", "authorization-config", "authorization-policy-file",
	"requestheader-", "encryption-provider-config",
}

// Unknown looks for flags among args that flags does not define. It gives those that
// are ignored; one that must not be is an error.
func Unknown(flags *pflag.FlagSet, args []string) (ignored []string, err error) {
	for _, arg := range args {
		name, ok := strings.CutPrefix(arg, "--")
		if name, _, _ = strings.Cut(name, "="); !ok || name == "" || flags.Lookup(name) != nil {
			continue
		}
		if slices.ContainsFunc(decisive, func(p string) bool { return strings.HasPrefix(name, p) }) {
			err = errors.Join(err, fmt.Errorf("--%s is not understood by kubus' API server", name))
			continue
		}
		ignored = append(ignored, "--"+name)
	}
	return ignored, err
}

// config is the gateway's configuration. What the flags leave out is made in dir.
func (f *APIServerFlags) config(dir string, keys pki.Options) (gateway.Config, error) {
	if !slices.Contains(f.AuthorizationMode, "RBAC") {
		return gateway.Config{}, fmt.Errorf("authorization-mode: %s: there is only RBAC here", strings.Join(f.AuthorizationMode, ","))
	}
	made := func(file string) string { return filepath.Join(dir, "pki", file) }
	keys.Dir, keys.Names = filepath.Join(dir, "pki"), []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", f.BindAddress}
	if err := pki.Ensure(keys); err != nil {
		return gateway.Config{}, err
	}
	c := gateway.Default()
	c.API.Listen = net.JoinHostPort(f.BindAddress, strconv.Itoa(f.SecurePort))
	c.API.CertFile, c.API.KeyFile = f.CertFile, f.KeyFile
	if c.API.CertFile == "" {
		c.API.CertFile, c.API.KeyFile = filepath.Join(f.CertDir, "apiserver.crt"), filepath.Join(f.CertDir, "apiserver.key")
		if _, err := os.Stat(c.API.CertFile); errors.Is(err, os.ErrNotExist) {
			c.API.CertFile, c.API.KeyFile = made("apiserver.crt"), made("apiserver.key")
		}
	}
	c.API.ClientCAFile = or(f.ClientCAFile, made("ca.crt"))
	c.ServiceAccount.KeyFile, c.ServiceAccount.Issuer = or(f.ServiceAccountKey, made("sa.key")), f.ServiceAccountIssuer
	c.SealKeyFile = made("secrets.key")
	c.ServiceCIDR, c.SecondServiceCIDR, _ = strings.Cut(f.ServiceClusterIPRange, ",")
	c.Admission = gateway.Admission{Enable: f.EnableAdmission, Disable: f.DisableAdmission, ConfigFile: f.AdmissionConfig}
	return c, nil
}

func or(given, otherwise string) string {
	if given != "" {
		return given
	}
	return otherwise
}
