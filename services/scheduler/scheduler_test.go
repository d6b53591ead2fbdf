package scheduler

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

func TestValidateNamesEveryProblem(t *testing.T) {
	c := Default()
	c.Roles, c.Workers, c.SchedulerName = []string{"worker", "cook"}, 0, ""
	err := c.Validate()
	if err == nil {
		t.Fatal("a broken configuration was accepted")
	}
	for _, want := range []string{`roles[1]: "cook"`, "workers: 0", "schedulerName"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
}
