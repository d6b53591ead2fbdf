// Package volume puts a pod's volumes in place on the node and keeps them up to
// date: emptyDir, hostPath, configMap, secret, downwardAPI, projected, and
// claims and ephemeral volumes that are bound to a persistent volume of type local
// or hostPath.
//
// Start with Manager.SetUp, which may be called again at any time: it makes what
// is missing and rewrites what changed. Files of the API's objects change all at
// once, by the rename of one symbolic link (see Write). Nothing a container can
// write to is trusted: paths below a volume are opened so that no link leads
// out of it.
package volume
