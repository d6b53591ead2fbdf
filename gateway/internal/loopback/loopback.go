// Package loopback gives upstream code that wants a client one that calls this very
// gateway, without a socket, as the user that upstream's server is to itself. Each
// request passes the whole chain.
//
// Start with New.
package loopback

import (
	"fmt"
	"net/http"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"kubus.dev/proto/apiclient"
)

// Clients are client-go's over one transport. They limit nothing: what they ask is
// asked on behalf of requests that were let in.
type Clients struct {
	Typed   kubernetes.Interface
	Dynamic dynamic.Interface
}

// New makes the clients. The gateway behind c need not serve yet.
func New(c *apiclient.Client) (*Clients, error) {
	// UserAgent is upstream's name for itself: field managers are named by it. The
	// host is never dialled.
	config := &rest.Config{Host: "http://gateway", UserAgent: "kube-apiserver", QPS: -1}
	client := &http.Client{Transport: c.RoundTripper()}
	typed, err := kubernetes.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("loopback client: %w", err)
	}
	untyped, err := dynamic.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("loopback client: %w", err)
	}
	return &Clients{Typed: typed, Dynamic: untyped}, nil
}
