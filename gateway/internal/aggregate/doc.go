// Package aggregate lets other servers serve group versions of this API, as
// upstream's kube-aggregator does: an APIService names the Service behind one, and
// requests for it are passed on with the user in headers that the server believes
// because of the gateway's client certificate.
//
// Start with New. Handler passes requests on; Run follows the APIServices, checks
// whether their servers answer, writes that into their status, and registers the
// group versions that the gateway serves itself; Remotes is what discovery shows of
// other servers. Any number of gateways do all of it side by side: they write a
// status only where it changes.
//
// A service of the cluster may stand behind an APIService that names no Service: a
// Delegate, reached over the bus. Its APIService is made when it is missing; whoever puts
// a Service into it has its own server asked instead.
//
// Servers are reached through the tunnel of the node that runs them, so that a
// gateway needs no route to pods.
package aggregate
