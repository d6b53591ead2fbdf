package device

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestPick(t *testing.T) {
	t.Parallel()
	ids := func(text string) set { return setOf(strings.Fields(text)) }
	prefer := func(text string) func([]string, []string, int) ([]string, error) {
		return func([]string, []string, int) ([]string, error) { return strings.Fields(text), nil }
	}
	for name, c := range map[string]struct {
		wish wish
		want string
		err  string
	}{
		"the first ones":                         {wish{need: 2, healthy: ids("c b a")}, "a b", ""},
		"not those of others":                    {wish{need: 1, healthy: ids("a b"), used: ids("a")}, "b", ""},
		"those that an init container had first": {wish{need: 2, healthy: ids("a b c"), used: ids("c"), reuse: ids("c")}, "a c", ""},
		"no more of those than wanted":           {wish{need: 1, healthy: ids("a b c"), used: ids("b c"), reuse: ids("b c")}, "b", ""},
		"those that the plugin prefers":          {wish{need: 2, healthy: ids("a b c d"), prefer: prefer("d c")}, "c d", ""},
		"not more than wanted of those":          {wish{need: 1, healthy: ids("a b c d"), prefer: prefer("d c")}, "d", ""},
		"and others if they do not do":           {wish{need: 2, healthy: ids("a b c"), used: ids("b"), prefer: prefer("b c x")}, "a c", ""},
		"too few":                                {wish{resource: "r", need: 2, healthy: ids("a b"), used: ids("a")}, "", "requested number of devices unavailable for r. Requested: 2, Available: 1"},
		"none is healthy":                        {wish{resource: "r", need: 1}, "", "no healthy devices present; cannot allocate unhealthy devices r"},
		"the plugin cannot say": {wish{need: 1, healthy: ids("a"), prefer: func([]string, []string, int) ([]string, error) { return nil, errors.New("x") }}, "",
			"device plugin GetPreferredAllocation rpc failed with err: x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := pick(c.wish)
			if err != nil {
				if err.Error() != c.err {
					t.Errorf("%v, want %q", err, c.err)
				}
				return
			}
			if c.err != "" || !slices.Equal(got, strings.Fields(c.want)) {
				t.Errorf("got %v of %+v, want %s %s", got, c.wish, c.want, c.err)
			}
		})
	}
}

func TestThePluginIsAskedForAllThatIsWanted(t *testing.T) {
	t.Parallel()
	_, err := pick(wish{need: 2, healthy: setOf([]string{"a", "b", "c", "d"}), used: setOf([]string{"a", "b"}), reuse: setOf([]string{"b"}),
		prefer: func(available, must []string, size int) ([]string, error) {
			if !slices.Equal(available, []string{"b", "c", "d"}) || !slices.Equal(must, []string{"b"}) || size != 2 {
				t.Errorf("asked for %d of %v with %v", size, available, must)
			}
			return nil, nil
		}})
	if err != nil {
		t.Error(err)
	}
}
