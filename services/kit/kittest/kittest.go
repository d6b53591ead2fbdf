// Package kittest holds what every service's tests of its configuration share.
package kittest

import (
	"testing"

	"go.yaml.in/yaml/v3"

	"kubus.dev/services/kit"
)

// Example fails the test unless config.example.yaml in its folder shows every key
// of the configuration with its default.
func Example[C any](t *testing.T, defaults C) {
	t.Helper()
	var read C
	var shown, all map[string]any
	if err := kit.Load("config.example.yaml", &read); err != nil {
		t.Fatal(err)
	}
	if err := kit.Load("config.example.yaml", &shown); err != nil {
		t.Fatal(err)
	}
	got, want := marshal(t, &read), marshal(t, &defaults)
	if got != want {
		t.Errorf("config.example.yaml says\n%s\nthe defaults are\n%s", got, want)
	}
	if err := yaml.Unmarshal([]byte(want), &all); err != nil {
		t.Fatal(err)
	}
	complete(t, "", shown, all)
}

func marshal(t *testing.T, cfg any) string {
	t.Helper()
	data, err := yaml.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// complete names the keys of all that are not shown.
func complete(t *testing.T, path string, shown, all map[string]any) {
	t.Helper()
	for key, value := range all {
		if _, ok := shown[key]; !ok {
			t.Errorf("config.example.yaml does not show %s%s", path, key)
		}
		if inner, ok := value.(map[string]any); ok {
			below, _ := shown[key].(map[string]any)
			complete(t, path+key+".", below, inner)
		}
	}
}
