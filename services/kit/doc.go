// Package kit is process plumbing for the services: configuration, logging,
// health, metrics, signals. No domain word appears in it.
//
// A main calls Main with the service's defaults and its Run; the all-in-one
// process makes a Process by itself and calls Run directly.
package kit
