package preflight

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestATakenPortNamesItsOwner(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := port(l.Addr().String())
	if p == nil {
		t.Fatal("no problem found")
	}
	for _, want := range []string{fmt.Sprint(l.Addr().(*net.TCPAddr).Port), fmt.Sprintf("process %d", os.Getpid()), "--listen"} {
		if !strings.Contains(p.Error(), want) {
			t.Errorf("%q does not name %q", p, want)
		}
	}
}

func TestVersionsOfRunc(t *testing.T) {
	for name, c := range map[string]struct {
		output  string
		ok, old bool
	}{
		"the least one is good":      {"runc version 1.5.2\ncommit: x\n", true, false},
		"a later one is good":        {"runc version 2.0.0-rc.1+dev\n", true, false},
		"an older patch is too old":  {"runc version 1.5.1\n", true, true},
		"an older minor is too old":  {"runc version 1.1.12\n", true, true},
		"another program is refused": {"crun version 1.5.2\n", false, false},
		"nonsense is refused":        {"runc version x.y.z\n", false, false},
	} {
		got, ok := runcVersion(c.output)
		if ok != c.ok || ok && older(got, LeastRunc) != c.old {
			t.Errorf("%s: got %v %v from %q", name, got, ok, c.output)
		}
	}
}

func TestAnOldRuncIsNamedWithItsVersion(t *testing.T) {
	fake := filepath.Join(t.TempDir(), "runc")
	if err := os.WriteFile(fake, []byte("#!/bin/sh\necho runc version 1.1.12\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := runc(fake)
	if p == nil || !strings.Contains(p.Error(), "1.1.12") || !strings.Contains(p.Error(), "1.5.2") {
		t.Errorf("got %v", p)
	}
}

func TestFilesystemsAreFoundByTheirWholeName(t *testing.T) {
	list := "nodev\tsysfs\n\text4\nnodev\toverlay\n"
	if !hasFilesystem(list, "overlay") || hasFilesystem(list, "over") {
		t.Errorf("wrong answers for %q", list)
	}
}
