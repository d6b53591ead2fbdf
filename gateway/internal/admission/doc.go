// Package admission is kube-apiserver's chain of admission: upstream's plugins in
// upstream's order, by upstream's initializers, fed from the state log.
//
// Start with New. Every verb of every resource and subresource passes the chain,
// connections to exec, attach, portforward and proxy included.
//
// Promises:
//   - Plugins that concern objects which need not exist (limit ranges, quotas,
//     webhooks, policies) are made when the first such object exists and cost a
//     look at a counter before. Whoever creates the object first meets the plugin
//     with its next request.
//   - What a plugin misses it looks for behind a barrier before it refuses: an object
//     that another gateway acknowledged is there.
//   - Webhooks and policies never see the objects that configure them, nor reviews.
//   - A webhook that names a Service is called at a ready endpoint of it: a pod by the
//     tunnel to its node, anything else at the address in the EndpointSlice. ClusterIPs
//     exist on nodes only.
//   - The cluster's DNS writes no Service and no EndpointSlice but its own, whatever RBAC
//     lets it create.
package admission
