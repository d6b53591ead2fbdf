// Package resourcequota says in each ResourceQuota's status what is limited and how
// much of it is in use. Admission, in the gateway, charges a quota before it lets an
// object be made; this controller counts what really is there, which gives back what
// was charged for objects that are gone or were never made.
//
//	made, spec changed --> counted at once
//	something that it limits was deleted, finished, shrank --> counted at once
//	admission charged it, something was made --> counted when its namespace was quiet
//	                                             for a second
//
// The wait in the last row is for objects that are charged and not yet made: counting
// them out would let others in their place.
//
// Start with count: it is pure and gives a quota's status from what a namespace holds.
// What counts for which resource name, and under which scopes, is upstream's
// (k8s.io/kubernetes pkg/quota/v1/evaluator/core): usage.go has pods, Services and
// claims, device.go devices, object.go mere numbers of objects of every kind that the
// API serves, scope.go the scopes.
package resourcequota
