package status

import (
	"os"
	"reflect"
	"testing"

	"kubus.dev/services/kit"
)

func TestTheExampleConfigurationIsTheDefaults(t *testing.T) {
	data, err := os.ReadFile("config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var got Config
	if err := kit.Parse("config.example.yaml", data, &got); err != nil {
		t.Fatal(err)
	}
	if want := Default(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
