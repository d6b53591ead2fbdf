// Package node describes the node itself: what it can hold, what it runs on, how
// it is. Start with Reporter, which writes the node's report when something of
// it changes, beats the heart, and follows the node's object for its pod CIDR.
package node
