// Package policy is upstream's plugin for ValidatingAdmissionPolicies, made to cost less a
// policy. What a policy says of a request is upstream's: its source, dispatcher, validator
// and compiler, CEL's programs and the costs that they count. Selectors are read once for a
// set of policies, and a request is held once against constraints that several policies
// have; the values that expressions can name are made when one names them; what a policy
// does not have (messages, annotations, variables) is not prepared for each request.
// Policies without variables share a compiler.
//
// Start with NewPlugin.
package policy
