// Package admission is the chain of built-in admission plugins, in upstream's
// order and with upstream's rules and words, fed from the state log's views
// instead of informers: ServiceAccount and token volume, namespace life cycle,
// default tolerations, priority, runtime classes, topology labels, what nodes may
// not do.
//
// Start with New. Every verb of every resource and subresource passes through it.
package admission
