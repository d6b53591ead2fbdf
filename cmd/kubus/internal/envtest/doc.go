// Package envtest lets controller-runtime's envtest, and whatever else starts an
// etcd and a kube-apiserver for its tests, run on Kubus' gateway: a folder of thin
// programs for KUBEBUILDER_ASSETS, and what stands behind them.
//
// The program called etcd keeps no data itself. It answers health checks for as
// long as it runs and tells the API server, which is given its address, where the
// store lives: in its data directory. The program called kube-apiserver is a
// gateway over a store embedded in it; there is nothing else, no controller, no
// scheduler and no node, as upstream's envtest has none. It takes the flags that
// envtest and Kubebuilder's projects give. A flag that would change who may do what
// and is not understood is an error; another one is named on stderr and ignored.
//
// Start with Write, Etcd and APIServer.
package envtest
