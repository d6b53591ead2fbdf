// Package openapi holds the OpenAPI documents of what is served, and from them the
// types that server-side apply merges by. The files in documents/ are written by
// gen from upstream's published documents, filtered to the table of kinds:
//
//	go generate ./internal/openapi
//
// They are embedded compressed and served as they are; the types are read at the
// first write.
//
// Start with Handler and Types.
package openapi

//go:generate go run -trimpath -tags grpcnotrace ./gen
