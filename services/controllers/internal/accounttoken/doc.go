// Package accounttoken keeps Secrets of the type kubernetes.io/service-account-token.
// The gateway fills them as they are written and knows the key; what is left is to
// follow the accounts:
//
//	token's account is not there, or another has its name --> token deleted
//	token of a present account is not filled yet          --> written again, which fills it
//	token deleted                                         --> its account lists it no more
//
// Tokens that were made for accounts by themselves, as Kubernetes did before 1.24, and
// came with objects of such a cluster, go by the days of last use that the gateway
// notes on each:
//
//	(in use) -- unused for the period, no pod names it --> marked invalid --> deleted after another period
//	     ^                                                      |
//	     +------------- somebody takes the mark away -----------+
//
// The gateway refuses a token that is marked, and a token that somebody made by hand is
// never touched.
package accounttoken
