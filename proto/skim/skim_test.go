package skim

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestObject(t *testing.T) {
	tests := []struct {
		name, in, want string
		err            error
	}{
		{"members come in order with raw values", `{"a":1,"b":{"c":[1,2]},"d":"x\"}"}`, `a=1 b={"c":[1,2]} d="x\"}"`, nil},
		{"white space is stepped over", " {\n \"a\" : [ 1 , 2 ] , \"b\" : null }", `a=[ 1 , 2 ] b=null`, nil},
		{"an empty object has no members", `{}`, ``, nil},
		{"null has no members", `null`, ``, nil},
		{"an array is no object", `[1]`, ``, ErrMalformed},
		{"an object that ends early is malformed", `{"a":1`, ``, ErrMalformed},
		{"a string that ends early is malformed", `{"a`, ``, ErrMalformed},
		{"a missing value is malformed", `{"a":}`, ``, ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			err := Object([]byte(tt.in), func(k, v []byte) error {
				got = append(got, string(k)+"="+string(v))
				return nil
			})
			if !errors.Is(err, tt.err) {
				t.Fatalf("Object(%s): error %v, want %v", tt.in, err, tt.err)
			}
			if s := strings.Join(got, " "); err == nil && s != tt.want {
				t.Errorf("Object(%s) = %s, want %s", tt.in, s, tt.want)
			}
		})
	}
}

func TestLookup(t *testing.T) {
	const doc = `{"a":{"b":"x","c\"":{"b":"no"},"n":12,"t":true,"e":"q\"\\","l":[1]},"b":"y","z":null}`
	for path, want := range map[string]string{
		"a b": "x", "b": "y", "a n": "12", "a t": "true", "a none": "", "a b c": "", "a": "", "a l": "", "a e": "", "": "", "z": "null",
	} {
		if got, _ := Scalar(Lookup([]byte(doc), strings.Fields(path)...)); got != want {
			t.Errorf("at %q: got %q, want %q", path, got, want)
		}
	}
	if got := Lookup([]byte(doc), "a", "e"); string(got) != `"q\"\\"` {
		t.Errorf("a string with escapes, raw: got %s", got)
	}
	for _, broken := range []string{``, `[]`, `{"a"`, `{"a":`, `{"x`} {
		if got := Lookup([]byte(broken), "a"); got != nil {
			t.Errorf("in %s: got %s", broken, got)
		}
	}
}

func TestString(t *testing.T) {
	for in, want := range map[string]string{`"abc"`: "abc", `"a\u0041\n"`: "aA\n", `""`: "", `1`: "", ``: ""} {
		if got := String([]byte(in)); got != want {
			t.Errorf("String(%s) = %q, want %q", in, got, want)
		}
	}
}

// What encoding/json accepts as an object, skim walks, and the raw values decode
// to the same; what it does not accept never makes skim panic or run away.
func FuzzObject(f *testing.F) {
	for _, s := range []string{`{"a":1}`, `{"a":{"b":["c",null,true]}}`, `{`, `{"a":"\\"}`, `{"":[[]]}`, `[`, `{"a" 1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got := map[string]json.RawMessage{}
		err := Object(data, func(k, v []byte) error {
			var key string
			_ = json.Unmarshal([]byte(`"`+string(k)+`"`), &key)
			got[key] = v
			_ = Array(v, func([]byte) error { return nil })
			return nil
		})
		var want map[string]json.RawMessage
		if json.Unmarshal(data, &want) != nil || err != nil {
			return
		}
		if len(got) != len(want) {
			t.Errorf("skim sees %d members, encoding/json %d in %s", len(got), len(want), data)
		}
	})
}
