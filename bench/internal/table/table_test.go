package table

import (
	"testing"

	"kubus.dev/bench/internal/measure"
)

func TestFormat(t *testing.T) {
	line := func(server, figure string, v float64) Line {
		return Line{Server: server, Figure: figure, What: "do " + figure, Unit: "x/s", Result: measure.Result{Value: v}}
	}
	got := Format([]Line{
		line("upstream", "a", 10), line("kubus", "a", 30), line("upstream", "a", 20), line("upstream", "a", 12), line("kubus", "b", 1234.5),
		{Server: "upstream", Figure: "c", What: "wait", Unit: "ms", Less: true, Result: measure.Result{Value: 8}},
		{Server: "kubus", Figure: "c", What: "wait", Unit: "ms", Less: true, Result: measure.Result{Value: 2}},
	})
	want := `| | upstream | kubus | ratio |
|---|--:|--:|--:|
| do a, x/s | 12.0 (10.0-20.0) | 30.0 | 2.5x |
| do b, x/s | - | 1234 | - |
| wait, ms | 8.0 | 2.0 | 4.0x |
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
