package deployment

import (
	"strings"
	"testing"
)

func TestALongDeploymentNameIsShortened(t *testing.T) {
	if got := setName(strings.Repeat("a", 253), "8c96c8dfc"); len(got) != 253 || !strings.HasSuffix(got, "a-8c96c8dfc") {
		t.Errorf("got %q (%d)", got, len(got))
	}
}
