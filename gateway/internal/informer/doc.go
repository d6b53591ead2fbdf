// Package informer gives upstream code the informers it asks for, fed by the state
// log's views: no request, no reflector, no second copy of the cluster.
//
// Start with New. A Factory is client-go's SharedInformerFactory; its listers read
// the view at the moment of the call and decode what they give, keeping the decoded
// form of a bounded number of objects for as long as these stay the newest. An
// informer that nobody listens to costs a small struct; one with handlers follows
// its collection in a goroutine of its own for each handler.
//
// Promises:
//   - A lister shows every write that this process acknowledged before the call.
//   - Where a Get finds nothing, it looks again behind a barrier before it says so:
//     what another gateway acknowledged is found.
//   - Handlers are told in order, one call at a time; a version may be skipped, the
//     last state never is. After Tell they know all that this process acknowledged.
//   - Objects are shared: nobody may change them, as with client-go's informers.
package informer
