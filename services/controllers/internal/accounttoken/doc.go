// Package accounttoken keeps Secrets of the type kubernetes.io/service-account-token.
// The gateway fills them as they are written and knows the key; what is left is to
// follow the accounts:
//
//	token's account is not there, or another has its name --> token deleted
//	token of a present account is not filled yet          --> written again, which fills it
//	token deleted                                         --> its account lists it no more
//
// Upstream's cleaner of tokens that were made by themselves before Kubernetes 1.24 is
// not here: it goes by the days of last use that kube-apiserver notes on each, and
// a new cluster has no such tokens.
package accounttoken
