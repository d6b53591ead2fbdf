package job

import (
	"slices"
	"testing"
)

func TestIndexesAreReadAndWrittenAsTheAPIHasThem(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                "",
		"3":               "3",
		"0,1":             "0,1",
		"0-2,4,6-9":       "0-2,4,6-9",
		"0,1,2":           "0-2", // runs are joined
		"2,x,4-y,6":       "2,6", // what is no number is left out
		"1,5-20":          "1,5-9",
		"1,10,11":         "1", // completions are 10
		"0-3,4,6,7,9-100": "0-4,6,7,9",
	} {
		if got := parseIndexes(text, 10).String(); got != want {
			t.Errorf("%q reads as %q, want %q", text, got, want)
		}
	}
}

func TestIndexesAsSets(t *testing.T) {
	t.Parallel()
	x, y := parseIndexes("1-3,7", 20), indexesOf([]int{9, 4, 3, 8, 0})
	if got := x.union(y).String(); got != "0-4,7-9" {
		t.Errorf("union %s", got)
	}
	if x.String() != "1-3,7" || y.String() != "0,3,4,8,9" {
		t.Errorf("the union changed what it was made of: %s, %s", x, y)
	}
	if x.count() != 4 || x.common(y) != 1 || x.common(x) != 4 || y.common(nil) != 0 {
		t.Errorf("count %d, in common %d, with itself %d", x.count(), x.common(y), x.common(x))
	}
	for index := range 12 {
		if x.has(index) != slices.Contains([]int{1, 2, 3, 7}, index) {
			t.Errorf("has(%d) is %t", index, x.has(index))
		}
	}
	for _, c := range []struct {
		count, completions int
		want               []int
	}{{2, 20, []int{0, 4}}, {9, 10, []int{0, 4, 5, 6, 8, 9}}, {5, 3, []int{0}}, {0, 20, nil}} {
		if got := x.gaps(c.count, c.completions); !slices.Equal(got, c.want) {
			t.Errorf("first %d gaps below %d: %v, want %v", c.count, c.completions, got, c.want)
		}
	}
}
