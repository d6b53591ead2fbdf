// Package api routes requests on resources to their verbs: reads to the read
// layer, writes through upstream's endpoints/handlers to the storage, streaming
// subresources and reviews to whoever serves them.
//
// Start with New. The handler expects upstream's RequestInfo, user, audit context
// and warning recorder in the request's context (package chain puts them there).
// Everything for a kind and version is made at its first write, so that kinds
// nobody writes cost nothing.
package api
