// Package helm holds Helm's own library against an API server: what `helm install`,
// `upgrade`, `rollback` and `uninstall` do. It is a module of its own, so that nothing
// else is built with Helm's dependencies; `make helm` starts a cluster without nodes and
// runs it.
package helm
