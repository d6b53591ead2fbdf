package cloud

import (
	"strings"
	"testing"

	"kubus.dev/services/kit/kittest"
)

func TestTheExampleConfigurationShowsTheDefaults(t *testing.T) {
	t.Parallel()
	kittest.Example(t, Default())
}

func TestAnUnknownProviderIsRefused(t *testing.T) {
	c := Default()
	c.Provider = "acme"
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), `"acme"`) {
		t.Errorf("got %v, want an error that names the provider", err)
	}
}
