// Package policytest makes clusters of pods and NetworkPolicies out of a seed, and says by
// itself what they allow: from the API's objects, straight as its documentation reads, with
// nothing of the proxy's own code. What the proxy decides, and what packets do, is compared
// with that.
//
// Start with Random; World.Change makes the next step of a story, World.Allowed answers.
package policytest
