package statelog

import "time"

// window says how many versions a collection keeps for watches: as many as fit all
// bounds. Without an age, the last burst would be kept until the next.
type window struct {
	events int
	bytes  int
	age    time.Duration
	packs  bool // of the objects, too
}

var (
	// longWindow is for others' watches: who comes back after a break wants the last minutes.
	longWindow = window{events: 16384, bytes: 48 << 20, age: 5 * time.Minute}
	// briefWindow is for watches of this process alone, which never take a break.
	// One that lags behind it starts from a snapshot. Few of the objects are read again
	// once they were decoded, so they are packed.
	briefWindow = window{events: 2048, bytes: 4 << 20, age: 20 * time.Second, packs: true}
)

// windowKeep events are kept in any window, however large or old.
const windowKeep = 256
