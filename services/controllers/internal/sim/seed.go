package sim

import (
	"flag"
	"fmt"
	"testing"
	"testing/synctest"
)

var seeds = flag.Uint64("sim.seeds", 40, "how many seeds simulations play")

// Seeds plays every seed in a bubble and a subtest of its own, by whose name a
// failure can be replayed.
func Seeds(t *testing.T, play func(t *testing.T, seed uint64)) { some(t, *seeds, play) }

// Few is Seeds for plays that take long: an eighth as many.
func Few(t *testing.T, play func(t *testing.T, seed uint64)) { some(t, *seeds/8, play) }

func some(t *testing.T, seeds uint64, play func(t *testing.T, seed uint64)) {
	for seed := uint64(1); seed <= seeds; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { play(t, seed) })
		})
	}
}
