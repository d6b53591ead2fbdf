package feed

import "testing"

func TestWhatOnlyTheAPIReadsIsLeftOut(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"metadata":{"name":"a","managedFields":[{"manager":"m"}],"uid":"1"},"spec":{}}`: `{"metadata":{"name":"a","uid":"1"},"spec":{}}`,
		`{"metadata":{"managedFields":[],"uid":"1"}}`:                                     `{"metadata":{"uid":"1"}}`,
		`{"metadata":{"uid":"1","managedFields":[{"fieldsV1":{"f:metadata":{}}}]}}`:       `{"metadata":{"uid":"1"}}`,
		`{"metadata":{"managedFields":[{}]}}`:                                             `{"metadata":{}}`,
		`{"metadata":{"name":"a"},"managedFields":[1]}`:                                   `{"metadata":{"name":"a"},"managedFields":[1]}`,
		`{"metadata":{"managedFields": [ ]}}`:                                             `{"metadata":{"managedFields": [ ]}}`,
		`{"metadata":{"managedFields":[`:                                                  `{"metadata":{"managedFields":[`,
		``:                                                                                ``,
	} {
		if got := string(withoutManagedFields([]byte(in))); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}
