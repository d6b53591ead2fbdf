package scheduler

import (
	"strings"
	"testing"

	"kubus.dev/services/kit/kittest"
)

func TestTheExampleConfigurationShowsTheDefaults(t *testing.T) {
	t.Parallel()
	kittest.Example(t, Default())
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
