// Package policy is upstream's plugin for ValidatingAdmissionPolicies, made to cost less a
// policy. What a policy says of a request is upstream's: its source, dispatcher, validator
// and compiler. Selectors are read once for a set of policies instead of once for a request
// and policy, and what a policy does not have (messages, annotations, variables) is not
// prepared for each request. Policies without variables share a compiler.
//
// Start with NewPlugin.
package policy
