package table

import (
	"strings"
	"testing"

	"kubus.dev/bench/internal/measure"
)

func TestAVerdictTellsWhatIsWithinItsBound(t *testing.T) {
	t.Parallel()
	bounds := map[string]Bound{"": {Share: 0.05}, "memory": {Absolute: 5}}
	for name, c := range map[string]struct {
		figure  string
		less    bool
		was, is []float64
		want    string
	}{
		"as fast":                             {"create", false, []float64{100, 101, 99}, []float64{100, 99, 101}, "| +0.0 % | 5 % | within |"},
		"slower, within the bound":            {"create", false, []float64{100, 101, 99}, []float64{96, 97, 95}, "| -4.0 % | 5 % | within |"},
		"faster than the bound":               {"create", false, []float64{100, 100, 100}, []float64{150, 150, 150}, "| +50.0 % | 5 % | within |"},
		"slower":                              {"create", false, []float64{100, 101, 99}, []float64{80, 81, 79}, "| -20.0 % | 5 % | BEYOND |"},
		"slower, where runs differ by more":   {"create", false, []float64{100, 140, 90}, []float64{80, 81, 79}, "| -20.0 % | 5 % | not settled"},
		"slower, of one run":                  {"create", false, []float64{100}, []float64{80}, "| -20.0 % | 5 % | not settled"},
		"a later start":                       {"start", true, []float64{1, 1, 1}, []float64{1.2, 1.2, 1.2}, "| +20.0 % | 5 % | BEYOND |"},
		"an earlier start":                    {"start", true, []float64{1, 1, 1}, []float64{0.5, 0.5, 0.5}, "| -50.0 % | 5 % | within |"},
		"as much more memory as there may be": {"memory", true, []float64{90, 90, 90}, []float64{95, 95, 95}, "| +5.0 | 5 more | within |"},
		"more memory":                         {"memory", true, []float64{90, 90, 90}, []float64{96, 96, 96}, "| +6.0 | 5 more | BEYOND |"},
	} {
		t.Run(name, func(t *testing.T) {
			var lines []Line
			for server, values := range map[string][]float64{"before": c.was, "now": c.is} {
				for _, v := range values {
					lines = append(lines, Line{Server: server, Figure: c.figure, What: "x", Unit: "y", Less: c.less, Result: measure.Result{Value: v}})
				}
			}
			if got := Judge(lines, "before", "now", bounds); !strings.Contains(got, c.want) {
				t.Errorf("got\n%s\nwant %s", got, c.want)
			}
		})
	}
}

func TestOnlyWhatBothHaveIsJudged(t *testing.T) {
	t.Parallel()
	lines := []Line{{Server: "before", Figure: "old"}, {Server: "now", Figure: "new"}}
	if got := Judge(lines, "before", "now", nil); strings.Count(got, "\n") != 2 {
		t.Errorf("got\n%s", got)
	}
}
