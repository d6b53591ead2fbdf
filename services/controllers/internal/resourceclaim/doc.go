// Package resourceclaim makes the ResourceClaims that pods ask for by templates, and
// releases claims that nobody uses any more:
//
//	pod made --> claim made from the template, named in the pod's status
//	               |
//	               +--> allocated and reserved, by the scheduler; reserved here for a pod
//	               |    that came to its node without one
//	pod done --> no more reserved --> nobody else is: not allocated, finalizer goes
//	                                   +--> made for that pod: deleted
//
// A pod that the mirror does not show is asked for at the API before its reservation
// is taken away: it may be too new. pod.go plans for a pod, claim.go for a claim.
package resourceclaim
