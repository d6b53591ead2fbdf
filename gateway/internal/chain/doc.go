// Package chain is what every request passes before a resource sees it, whether it
// came over HTTPS, over the bus or by a call inside the process: request info, an
// audit id, warnings, a deadline, impersonation, authorization. Only
// authentication differs: HTTPS requests prove who they are, the others carry a
// user that the bus has pinned.
//
// Start with New.
package chain
