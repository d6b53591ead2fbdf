// Package source brings to the node what it needs of the cluster, and keeps it
// on disk: the node's pods, the ConfigMaps and Secrets they name, the Services
// of their variables, and tokens for their service accounts.
//
// Everything is pushed by watches through the API; nothing polls. Without a
// control plane the last known copies are used, so pods start again by
// themselves. What no pod of the node names is neither watched nor kept.
package source
