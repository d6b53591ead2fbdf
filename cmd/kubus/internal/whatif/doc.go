// Package whatif answers `kubus plan`: where the pods of a manifest would be placed, and why
// not, in the cluster as it is. The API is asked with dryRun for what it would make of each
// object, so that defaults and refusals are its own; the decisions are the scheduler's own
// code. Nothing is written.
//
// Start with Plan.
package whatif
