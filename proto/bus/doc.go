// Package bus is the one place that imports nats.go. It gives the services a
// connection that stays up, the streams of package proto, ordered consumption
// without gaps, and publishing with compare-and-set.
//
// Start with Connect. Delivery: core messages at most once, stream messages in
// order and exactly once per call of Consume. A Conn is safe for concurrent use.
package bus
