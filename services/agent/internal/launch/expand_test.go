package launch

import "testing"

func TestExpand(t *testing.T) {
	t.Parallel()
	env := map[string]string{"A": "1", "EMPTY": "", "DOLLAR": "$(A)"}
	lookup := func(n string) (string, bool) { v, ok := env[n]; return v, ok }
	for name, c := range map[string]struct{ in, want string }{
		"plain text stays":                         {"hello", "hello"},
		"a reference becomes its value":            {"x$(A)y", "x1y"},
		"an empty value is a value":                {"x$(EMPTY)y", "xy"},
		"an unknown reference stays":               {"$(NO)", "$(NO)"},
		"two dollars are one":                      {"$$(A)", "$(A)"},
		"an unclosed reference stays":              {"$(A", "$(A"},
		"a dollar before other text stays":         {"$A $ü", "$A $ü"},
		"a dollar at the end stays":                {"A$", "A$"},
		"values are not expanded again":            {"$(DOLLAR)", "$(A)"},
		"several references in a row":              {"$(A)$(A)", "11"},
		"shell syntax is not ours":                 {"${A} $(A)", "${A} 1"},
		"four dollars are two":                     {"$$$$", "$$"},
		"an escape before a reference with a name": {"$$$(A)", "$1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := Expand(c.in, lookup); got != c.want {
				t.Errorf("Expand(%q) = %q, want %q", c.in, got, c.want)
			}
		})
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("$(A)$$(B)$")
	f.Fuzz(func(_ *testing.T, s string) {
		Expand(s, func(string) (string, bool) { return "", false })
	})
}
