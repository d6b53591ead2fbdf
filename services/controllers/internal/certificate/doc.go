// Package certificate approves, signs and cleans up what users and kubelets ask for
// by CertificateSigningRequests, and cleans up PodCertificateRequests.
//
//	made --> approved by a person, or here for kubelets that may ask for their own
//	            |         client certificate --> signed, if a CA is configured --> deleted 1 h
//	            |                           |                                later, or expired
//	            |                           +--> Failed: not what its signer signs --> 1 h
//	            +--> Denied ---------------------------------------------------------> 1 h
//	            +--> nothing, or approved for a signer elsewhere --------------------> 24 h
//
// The signers are kube-apiserver-client, kube-apiserver-client-kubelet,
// kubelet-serving and legacy-unknown, all of kubernetes.io. The CA is read at each
// signature, so a new one counts from then on.
//
// request.go says who may have what, ca.go signs, age.go says what is too old; each of
// the other files is a controller.
package certificate
