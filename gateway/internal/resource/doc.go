// Package resource is the table of kinds that the gateway serves: one row a kind
// with its names, versions, strategies and subresources. Everything generic
// (storage, reads, discovery, routing) is driven by it, so that a further kind is
// a further row and not further code.
//
// Start with Kind, Table and Find. Rows are fixed at init and never change; all
// functions may be called from any goroutine.
package resource
