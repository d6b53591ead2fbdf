// Package custom makes kinds of CustomResourceDefinitions while the gateway runs,
// and does for the definitions what upstream's apiextensions-apiserver does in
// controllers: names, conditions, and the removal of instances.
//
// Start with Controller, which follows the definitions in the log and keeps the
// registry's "crd" source up to date, and with Definition, which is one of them.
// Semantics are those of k8s.io/apiextensions-apiserver; how objects are stored and
// read is the gateway's own.
//
// Promises. A definition costs what its names cost until somebody uses it: schemas,
// rules and OpenAPI documents are made at first use. A kind is served by this
// gateway before its Established condition is written, and other gateways look for
// it behind a barrier before they answer 404. A stored object is shown as its bytes
// where a walk over them finds nothing that its schema would prune or default.
package custom
