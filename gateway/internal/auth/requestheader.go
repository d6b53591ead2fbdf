package auth

import (
	cryptox509 "crypto/x509"
	"encoding/json"
	"fmt"
	"os"

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

// Published is what extension API servers are told in the ConfigMap
// extension-apiserver-authentication: clientCA, and the proxy where there is one.
func (h RequestHeader) Published(clientCA []byte) (map[string]string, error) {
	data := map[string]string{"client-ca-file": string(clientCA)}
	pem, err := h.CA()
	if err != nil || pem == nil {
		return data, err
	}
	data["requestheader-client-ca-file"] = string(pem)
	for key, list := range map[string][]string{
		"requestheader-allowed-names": h.AllowedNames, "requestheader-username-headers": h.UsernameHeaders, "requestheader-uid-headers": h.UIDHeaders,
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
