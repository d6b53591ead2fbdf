package kittest

import (
	"os"
	"testing"
)

// Lack skips a test for want of something, on a laptop: where CI has promised the tool
// the test fails instead.
func Lack(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("CI must have %s", what)
	}
	t.Skipf("needs %s", what)
}

// NeedRoot is for tests of what only root may do.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Lack(t, "root")
	}
}
