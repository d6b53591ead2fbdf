// Package apiclient is the Kubernetes API for services, agents and automation:
// the gateway's own handler chain, reached over the bus or, in the all-in-one
// process, by a plain call.
//
// Start with Client and its Do; Get, Create, ListWatch are typed forms of it.
// RoundTripper serves client-go and any other HTTP client. Errors are
// *apierrors.StatusError of k8s.io/apimachinery, as from a Kubernetes API server.
// A Client is safe for concurrent use.
package apiclient
