// Package bootstrap makes what every cluster has from its first moment: the
// system's namespaces, the RBAC roles of upstream and of our own services, the
// priority classes, the configuration of flow control, the range of Services, the
// Service of the API itself.
//
// Start with Run. It writes only what is missing or has lost a rule, so that a
// start of a cluster that is right writes nothing; all writes of a step go
// together. Any number of gateways may run it at once.
package bootstrap
