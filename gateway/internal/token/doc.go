// Package token makes and checks ServiceAccount tokens: the serviceaccounts/token
// subresource, the authenticator of such tokens, and the documents by which others
// can check them (OpenID discovery). Claims, signing and validation are upstream's;
// what a token is bound to is looked up in the gateway's views, so that it dies
// with the pod, node, secret or account.
//
// Start with NewIssuer.
package token
