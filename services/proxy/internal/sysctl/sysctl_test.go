package sysctl_test

import (
	"os"
	"strings"
	"testing"

	"kubus.dev/services/proxy/internal/lab"
	"kubus.dev/services/proxy/internal/sysctl"
)

const path = "ipv4/ip_forward"

func value(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/sys/net/" + path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

func set(t *testing.T, v string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/net/"+path, []byte(v), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestASwitchIsPutBackUnlessSomebodyElseChangedIt(t *testing.T) {
	l := lab.New(t)
	l.Node.Do(func() {
		dir := t.TempDir()
		set(t, "0")
		for range 2 { // a second start must not take our own value for the one before us
			if err := sysctl.Apply(dir, sysctl.Needed); err != nil {
				t.Fatal(err)
			}
			if value(t) != "1" {
				t.Fatal("the switch was not set")
			}
		}
		if err := sysctl.Restore(dir); err != nil {
			t.Fatal(err)
		}
		if got := value(t); got != "0" {
			t.Errorf("after restoring: got %s, want 0", got)
		}
		if err := sysctl.Restore(dir); err != nil {
			t.Errorf("restoring again: %v", err)
		}

		set(t, "1")
		if err := sysctl.Apply(dir, sysctl.Needed); err != nil {
			t.Fatal(err)
		}
		if err := sysctl.Restore(dir); err != nil {
			t.Fatal(err)
		}
		if got := value(t); got != "1" {
			t.Errorf("a switch that was right already: got %s after restoring, want 1", got)
		}
	})
}
