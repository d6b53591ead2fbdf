// Package feed lets those read the state log who are not in its account: a gateway
// reads it for them, sees to it that they get what they may read and nothing
// else, and hands it over through a tunnel. Services have no right on JetStream then.
//
// Serve is the gateway's side; Log the reader's, a statelog.Source.
//
// Promises. As statelog.Source: in order, and it is said up to where nothing is missing.
// What comes is on disk: the gateway's own view has it, and while the reader keeps up it
// gets each version that the view took, from memory. A reader that is slow is waited for
// with at most a window of bytes on the way; what becomes too much it gets from the store,
// as far as that still has it. When the gateway is gone, the reader goes on at another one,
// or at the next, behind the last message it was given; while there is none, nobody writes
// either.
//
// On the wire, log.<client>.state is a request with a JSON body, and log.<client>.read
// the opening of a tunnel with one (request); on channel 1 come records (record.go).
package feed
