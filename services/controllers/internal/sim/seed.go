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
func Seeds(t *testing.T, play func(t *testing.T, seed uint64)) {
	for seed := uint64(1); seed <= *seeds; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { play(t, seed) })
		})
	}
}
