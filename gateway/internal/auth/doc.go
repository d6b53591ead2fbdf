// Package auth says who a request comes from and what it may do.
//
// Authenticator proves identities of HTTPS requests as upstream does: the headers of a
// proxy that proves itself, client certificates (common name and organisations), and
// tokens, of ServiceAccounts or for bootstrapping; who says nothing is
// system:anonymous, whom RBAC lets read little. Authorizer decides as upstream does with
// --authorization-mode=Node,RBAC: system:masters may everything, nodes what
// their own pods need, everybody else what roles grant. Both read the gateway's
// views through indexes, so that a decision is as fresh as the view, needs no
// informer and does not slow down with the number of bindings.
//
// Start with NewAuthenticator, NewAuthorizer and Reviews.
package auth
