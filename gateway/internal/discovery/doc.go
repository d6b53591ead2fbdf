// Package discovery tells clients what is served: the documents below /api and
// /apis, the aggregated form of both, and /version. They follow from the table of
// kinds and are made once.
package discovery
