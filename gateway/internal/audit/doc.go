// Package audit writes down who asked for what, as upstream does: the policy's levels,
// stages and rules, the events and their form (audit.k8s.io/v1) are upstream's own.
// Events go to a log file, one JSON document a line, before the request goes on; and
// to the stream AUDIT on the bus, in the background, where a full queue drops events
// and counts them (apiserver_audit_error_total). Secrets' bodies and tokens are
// written down only where the policy asks for bodies of them.
//
// Start with New. Without a policy there is no audit and nothing costs anything.
package audit
