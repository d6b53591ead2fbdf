// Package bootstrap serves nodes that join with a bootstrap token, a Secret of the
// type bootstrap.kubernetes.io/token in kube-system. It signs the ConfigMap
// cluster-info in kube-public with every token that is for signing, so that who has a
// token can tell that the cluster's address and CA in it are the right ones, and it
// deletes tokens when they expire.
//
//	token made --> its signature is in cluster-info --> expired, no more for signing,
//	                                                    or gone: the signature goes too
//
// Secrets are sealed in the log: their contents are asked of the API.
package bootstrap
