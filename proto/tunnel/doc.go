// Package tunnel gives duplex byte streams over the bus: exec, attach, logs,
// port-forward, and HTTP exchanges that stream. A tunnel has numbered channels,
// each an ordered, reliable pipe in both directions; a credit of Window bytes a
// channel keeps a slow reader from being flooded.
//
// Start with Dial and Serve. A lost connection or peer ends a tunnel with
// ErrBroken: nothing is resumed, the user starts again. Frames are core NATS
// messages on two private subjects; a gap in their sequence is ErrBroken too.
package tunnel
