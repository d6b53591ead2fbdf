// Package read answers GET: one object, lists and watches of any kind in the
// resource table, from the encoded bytes that the state log's views hold.
//
// Start with Reader, which makes an http.Handler for one kind and served version.
// JSON in the storage version is spliced together from stored bytes without
// decoding. Other formats (protobuf, YAML), versions and shapes (Table,
// PartialObjectMetadata) are derived once an entry and kept in a cache with a
// byte budget, shared by all requests and watchers.
//
// Promises. A list is one point in time; all pages of a list share one
// resourceVersion for five minutes. A read without resourceVersion is
// linearizable. A watch is ordered and complete or ends with 410 Expired; a
// watcher that does not read is cut off and nothing is buffered for it.
package read
