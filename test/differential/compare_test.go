package differential

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func document(t *testing.T, text string) any {
	t.Helper()
	doc, ok := parseJSON([]byte(text))
	if !ok {
		t.Fatalf("no JSON: %s", text)
	}
	return doc
}

// aspects are what two answers with these bodies differ in.
func aspects(t *testing.T, a, b string) string {
	t.Helper()
	var out []string
	for _, d := range Compare(&Answer{Code: 200, Body: document(t, a)}, &Answer{Code: 200, Body: document(t, b)}) {
		out = append(out, d.Aspect+" "+d.Upstream+" "+d.Kubus)
	}
	return strings.Join(out, "; ")
}

func TestAnswersAreComparedFieldByField(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ a, b, want string }{
		"the same in another order":       {`{"a":1,"b":{"c":[true,null]}}`, `{"b":{"c":[true,null]},"a":1}`, ""},
		"another value":                   {`{"a":{"b":"x"}}`, `{"a":{"b":"y"}}`, ".a.b x y"},
		"a field that one lacks":          {`{"a":1}`, `{}`, ".a 1 (absent)"},
		"a field that only the other has": {`{}`, `{"a":[]}`, ".a (absent) []"},
		"nothing is not an empty list":    {`{"a":null}`, `{"a":[]}`, ".a null []"},
		"an item of a list":               {`{"a":[1,{"b":2}]}`, `{"a":[1,{"b":3}]}`, ".a[1].b 2 3"},
		"lists of another length":         {`{"a":[1,3]}`, `{"a":[1,2,2]}`, `.a ["2 items, of them here alone:",3] ["3 items, of them here alone:",2,2]`},
		"a number is not a text":          {`{"a":1}`, `{"a":"1"}`, `.a 1 1`},
		"numbers as they are written":     {`{"a":1.0}`, `{"a":1}`, ".a 1.0 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := aspects(t, c.a, c.b); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestOfAnswersWithOtherCodesOnlyTheReasonsAreTold(t *testing.T) {
	t.Parallel()
	got := Compare(&Answer{Code: 404, Body: document(t, `{"message":"no such pod","reason":"NotFound"}`)}, &Answer{Code: 200, Body: document(t, `{"kind":"Pod"}`)})
	if len(got) != 1 || got[0] != (Difference{"code", "404 no such pod", "200"}) {
		t.Errorf("got %v", got)
	}
}

func TestHeadersAndEventsAreCompared(t *testing.T) {
	t.Parallel()
	a := &Answer{Code: 200, Header: map[string]string{"Warning": "w", "Etag": "<present>"}, Events: []any{document(t, `{"type":"ADDED","object":{"metadata":{"name":"a"}}}`)}}
	b := &Answer{Code: 200, Header: map[string]string{"Warning": "v"}, Events: []any{}}
	var got []string
	for _, d := range Compare(a, b) {
		got = append(got, d.Aspect+": "+d.Upstream+" / "+d.Kubus)
	}
	want := "header Etag: <present> / (absent); header Warning: w / v; events: [ADDED a] / []"
	if strings.Join(got, "; ") != want {
		t.Errorf("got %q, want %q", strings.Join(got, "; "), want)
	}
}

func TestWhatOneServerAloneCanSayIsReplaced(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	n := newNormalizer("https://127.0.0.1:6443")
	n.now = func() time.Time { return now }
	const one, two = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
	for _, c := range []struct{ name, in, want string }{
		{"an object", `{"metadata":{"name":"a","uid":"` + one + `","resourceVersion":"17","creationTimestamp":"2026-11-27T11:59:58Z"}}`,
			`{"metadata":{"creationTimestamp":"<time>","name":"a","resourceVersion":"rv of uid(a)#1#1","uid":"uid(a)#1"}}`},
		{"its next version", `{"metadata":{"name":"a","uid":"` + one + `","resourceVersion":"19"}}`, `{"metadata":{"name":"a","resourceVersion":"rv of uid(a)#1#2","uid":"uid(a)#1"}}`},
		{"the same version again", `{"metadata":{"name":"a","uid":"` + one + `","resourceVersion":"17"}}`, `{"metadata":{"name":"a","resourceVersion":"rv of uid(a)#1#1","uid":"uid(a)#1"}}`},
		{"another object of the name", `{"metadata":{"name":"a","uid":"` + two + `","resourceVersion":"20"}}`, `{"metadata":{"name":"a","resourceVersion":"rv of uid(a)#2#1","uid":"uid(a)#2"}}`},
		{"a uid in a text", `{"message":"the UID is ` + two + `"}`, `{"message":"the UID is uid(a)#2"}`},
		{"a generated name", `{"metadata":{"name":"b-x7k2z","generateName":"b-","uid":"33333333-1111-1111-1111-111111111111"},"message":"b-x7k2z is there"}`,
			`{"message":"b-<generated>#1 is there","metadata":{"generateName":"b-","name":"b-<generated>#1","uid":"uid(b-<generated>#1)#1"}}`},
		{"a list's version and token", `{"metadata":{"resourceVersion":"99","continue":"abc"},"items":[]}`, `{"items":[],"metadata":{"continue":"<continue>","resourceVersion":"<rv>"}}`},
		{"a time that was given stays", `{"at":"2001-01-01T00:00:00Z"}`, `{"at":"2001-01-01T00:00:00Z"}`},
		{"a time in microseconds", `{"at":"2026-11-27T12:00:00.123456Z"}`, `{"at":"<time.6>"}`},
		{"today", `{"since":"2026-11-27"}`, `{"since":"<date>"}`},
		{"yesterday", `{"since":"2026-11-26"}`, `{"since":"<date>"}`},
		{"a day that was given stays", `{"since":"2001-01-01"}`, `{"since":"2001-01-01"}`},
		{"an address of the cluster", `{"spec":{"clusterIP":"10.96.4.7","clusterIPs":["10.96.4.7"]}}`, `{"spec":{"clusterIP":"<ip>","clusterIPs":["<ip>"]}}`},
		{"no address", `{"spec":{"clusterIP":"None"}}`, `{"spec":{"clusterIP":"None"}}`},
		{"versions in a text", `{"message":"too old resource version: 5 (17)"}`, `{"message":"too old resource version: <rv>"}`},
		{"the server's own address", `{"message":"at 127.0.0.1:6443"}`, `{"message":"at <server>"}`},
	} {
		if got := text(n.document(document(t, c.in))); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestOnlyWhatIsExplainedIsKnown(t *testing.T) {
	t.Parallel()
	list := knownList(t, `
- {id: one, reason: because, aspect: '\.items\[\]\.x', upstream: "null", kubus: '\[\]'}
- {id: two, reason: because, scenario: users/.*, aspect: code}
`)
	for _, c := range []struct {
		scenario string
		d        Difference
		want     string
	}{
		{"lists/pods", Difference{".items[3].x", "null", "[]"}, "one"},
		{"lists/pods", Difference{".items[3].x", "null", "[1]"}, ""},
		{"lists/pods", Difference{".items[3].xy", "null", "[]"}, ""},
		{"users/pods", Difference{"code", "403 no", "401"}, "two"},
		{"lists/pods", Difference{"code", "403 no", "401"}, ""},
	} {
		got := ""
		if k := list.Explain(c.scenario, "step", c.d); k != nil {
			got = k.ID
		}
		if got != c.want {
			t.Errorf("%s %v: explained by %q, want %q", c.scenario, c.d, got, c.want)
		}
	}
	if idle := list.Idle(); len(idle) != 0 {
		t.Errorf("%v explained nothing", idle)
	}
	if idle := knownList(t, "- {id: one, reason: because, step: x}").Idle(); strings.Join(idle, " ") != "one" {
		t.Errorf("got %v, want the one that explains nothing", idle)
	}
}

func knownList(t *testing.T, text string) *KnownList {
	t.Helper()
	file := filepath.Join(t.TempDir(), "known.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := LoadKnown(file)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestAnExplanationMustSaySomething(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no reason":       "- {id: a, aspect: code}",
		"everything":      "- {id: a, reason: b}",
		"an unknown key":  "- {id: a, reason: b, aspect: code, aspekt: code}",
		"no such pattern": "- {id: a, reason: b, aspect: '('}",
	} {
		file := filepath.Join(t.TempDir(), "known.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKnown(file); err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
}

// Every explanation is told to users as well.
func TestWhatIsKnownStandsInTheDocumentation(t *testing.T) {
	t.Parallel()
	list, err := LoadKnown("testdata/known.yaml")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/divergences.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range list.IDs() {
		if !bytes.Contains(page, []byte("`"+id+"`")) {
			t.Errorf("docs/divergences.md does not mention `%s`", id)
		}
	}
}

// told is a side that always says the same.
type told map[string]*Answer

func (s told) Begin(string) Session                      { return s }
func (s told) Ask(_ context.Context, step *Step) *Answer { return s[step.Name] }

func TestWhatIsRecordedIsPlayedAgain(t *testing.T) {
	t.Parallel()
	upstream := told{"a": {Code: 200, Body: document(t, `{"n":1.0,"m":[null]}`)}, "b": {Code: 404, Body: "no"}}
	scenarios := []*Scenario{{Name: "s/x", Steps: []Step{{Name: "a"}, {Name: "b"}}}}
	made := NewRecording([]*Kind{{Version: "v1", Resource: "pods", Name: "Pod"}})
	if _, err := Run(t.Context(), Recorder{upstream, made}, upstream, scenarios, nil, 2); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "r.json.gz")
	if err := made.Write(file); err != nil {
		t.Fatal(err)
	}
	read, err := LoadRecording(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(read.Kinds) != 1 || read.Kinds[0].Title() != "pods" {
		t.Errorf("got kinds %v", read.Kinds)
	}
	kubus := told{"a": upstream["a"], "b": {Code: 404, Body: "yes"}}
	result, err := Run(t.Context(), read, kubus, scenarios, nil, 2)
	if err != nil {
		t.Fatal(err)
	}
	if result.Steps != 2 || result.Open() != 1 || result.Findings[0].Step.Name != "b" {
		t.Errorf("got %d steps, findings %v", result.Steps, result.Findings)
	}
	var report bytes.Buffer
	if err := result.Report(&report); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1 scenarios, 2 requests", "1 differences nobody has explained", "upstream: `no`", "kubus: `yes`"} {
		if !strings.Contains(report.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, &report)
		}
	}
	if _, err := Run(t.Context(), read, kubus, []*Scenario{{Name: "s/x", Steps: []Step{{Name: "c"}}}}, nil, 1); err == nil {
		t.Errorf("a step that was not recorded was compared")
	}
}
