package cloud

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"kubus.dev/services/kit"
)

func TestTheExampleShowsTheDefaults(t *testing.T) {
	data, err := os.ReadFile("config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var got Config
	if err := kit.Parse("config.example.yaml", data, &got); err != nil {
		t.Fatal(err)
	}
	if want := Default(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestAnUnknownProviderIsRefused(t *testing.T) {
	c := Default()
	c.Provider = "acme"
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), `"acme"`) {
		t.Errorf("got %v, want an error that names the provider", err)
	}
}
