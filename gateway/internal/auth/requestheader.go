package auth

import (
	cryptox509 "crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/request/x509"
)

// RequestHeader says by which certificate a proxy in front of the API is known, and in
// which headers it names its users: upstream's --requestheader flags.
type RequestHeader struct {
	// ClientCAFile signs the proxy's certificate, PEM; empty: no proxy is believed.
	ClientCAFile string `yaml:"clientCAFile"`
	// AllowedNames are the proxy's common names; empty: any that the CA signed.
	AllowedNames        []string `yaml:"allowedNames"`
	UsernameHeaders     []string `yaml:"usernameHeaders"`
	UIDHeaders          []string `yaml:"uidHeaders"`
	GroupHeaders        []string `yaml:"groupHeaders"`
	ExtraHeaderPrefixes []string `yaml:"extraHeaderPrefixes"`
}

// DefaultRequestHeader has the headers' usual names.
func DefaultRequestHeader() RequestHeader {
	return RequestHeader{
		AllowedNames:    []string{},
		UsernameHeaders: []string{"X-Remote-User"}, UIDHeaders: []string{"X-Remote-Uid"},
		GroupHeaders: []string{"X-Remote-Group"}, ExtraHeaderPrefixes: []string{"X-Remote-Extra-"},
	}
}

// CA is what signs the proxy's certificate, PEM; nil when no proxy is believed.
func (h RequestHeader) CA() ([]byte, error) {
	if h.ClientCAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(h.ClientCAFile)
	if err != nil {
		return nil, fmt.Errorf("loading the proxy's CA: %w", err)
	}
	return pem, nil
}

// Authenticator believes the proxy; it is nil when none is.
func (h RequestHeader) Authenticator() (authenticator.Request, error) {
	pem, err := h.CA()
	if err != nil || pem == nil {
		return nil, err
	}
	roots := cryptox509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("loading the proxy's CA: %s holds no certificate", h.ClientCAFile)
	}
	verify := x509.DefaultVerifyOptions()
	verify.Roots = roots
	names := func(s []string) headerrequest.StringSliceProvider { return headerrequest.StaticStringSlice(s) }
	return headerrequest.NewDynamicVerifyOptionsSecure(func() (cryptox509.VerifyOptions, bool) { return verify, true },
		names(h.AllowedNames), names(h.UsernameHeaders), names(h.UIDHeaders), names(h.GroupHeaders), names(h.ExtraHeaderPrefixes)), nil
}

// Forwarder is who sends requests to extension API servers and names their users in
// headers: the gateway. The zero Forwarder has no certificate to show.
type Forwarder struct {
	CA   []byte // signs its certificate, PEM
	Name string // the certificate's common name
}

// Published is what extension API servers are told in the ConfigMap
// extension-apiserver-authentication: clientCA, and whose headers they may believe,
// those of the gateway and of the proxy in front of it, as far as there are such.
func (h RequestHeader) Published(clientCA []byte, gateway Forwarder) (map[string]string, error) {
	data := map[string]string{"client-ca-file": string(clientCA)}
	proxy, err := h.CA()
	if err != nil || proxy == nil && gateway.CA == nil {
		return data, err
	}
	data["requestheader-client-ca-file"] = string(slices.Concat(gateway.CA, proxy))
	for key, list := range map[string][]string{
		"requestheader-allowed-names": h.believed(proxy != nil, gateway), "requestheader-username-headers": h.UsernameHeaders, "requestheader-uid-headers": h.UIDHeaders,
		"requestheader-group-headers": h.GroupHeaders, "requestheader-extra-headers-prefix": h.ExtraHeaderPrefixes,
	} {
		if list == nil {
			list = []string{}
		}
		text, err := json.Marshal(list)
		if err != nil {
			return nil, err
		}
		data[key] = string(text)
	}
	return data, nil
}

// believed are the common names that may name users; none means any.
func (h RequestHeader) believed(proxy bool, gateway Forwarder) []string {
	switch {
	case !proxy:
		return []string{gateway.Name}
	case gateway.CA == nil || len(h.AllowedNames) == 0 || slices.Contains(h.AllowedNames, gateway.Name):
		return h.AllowedNames
	}
	return append([]string{gateway.Name}, h.AllowedNames...)
}
