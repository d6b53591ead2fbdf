package instance

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestARangeInUseIsAvoidedUnlessItWasAskedFor(t *testing.T) {
	used := []Used{{netip.MustParsePrefix("10.244.1.0/24"), "interface kb-1"}, {netip.MustParsePrefix("10.245.0.0/16"), "the kubus in /x"}}
	for name, c := range map[string]struct {
		want  string
		asked bool
		got   string
		fails bool
	}{
		"a free range is taken as it is":             {"10.96.0.0/16", false, "10.96.0.0/16", false},
		"a used default moves to the next free one":  {"10.244.0.0/16", false, "10.246.0.0/16", false},
		"a used range that was asked for is refused": {"10.244.0.0/16", true, "", true},
		"a free range that was asked for is taken":   {"10.250.0.0/16", true, "10.250.0.0/16", false},
	} {
		got, err := FreeRange(c.want, c.asked, used)
		if got != c.got || (err != nil) != c.fails {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), "interface kb-1") {
			t.Errorf("%s: %q does not say who uses it", name, err)
		}
	}
}

func TestADirectoryOfAnotherVersionIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "version"), []byte("99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), `"99"`) {
		t.Errorf("got %v", err)
	}
}

func TestADirectoryOfSomebodyElseIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.tex"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "thesis.tex") {
		t.Errorf("got %v", err)
	}
}

func TestASavedInstanceIsReadBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if i, err := Load(dir); i != nil || err != nil {
		t.Fatalf("got %v, %v before the first start", i, err)
	}
	i := &Instance{Dir: dir, ID: ID(dir, "n"), Listen: "127.0.0.1:6443", ServiceCIDR: "10.96.0.0/16"}
	if err := i.Save(); err != nil {
		t.Fatal(err)
	}
	got, err := Load(dir)
	if err != nil || got.ID != i.ID || got.Dir != dir {
		t.Fatalf("got %+v, %v", got, err)
	}
	if ip := got.ServiceIP(10); ip != "10.96.0.10" {
		t.Errorf("service address 10: got %s", ip)
	}
}

func TestALockNamesItsHolder(t *testing.T) {
	dir := t.TempDir()
	held, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Lock(dir)
	var inUse *InUseError
	if !errors.As(err, &inUse) || inUse.PID != os.Getpid() {
		t.Errorf("got %v", err)
	}
	if pid, kept, err := User(dir); pid != os.Getpid() || kept || err != nil {
		t.Errorf("got %d, %v, %v", pid, kept, err)
	}
	held.Close()
	if pid, _, err := User(dir); pid != 0 || err != nil {
		t.Errorf("after the release: got %d, %v", pid, err)
	}
}

func TestPortsAreStableAndDistinct(t *testing.T) {
	i := &Instance{ID: "abcdef"}
	free := func(int) bool { return false }
	a, err := i.ChoosePort("bus", free)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := i.ChoosePort("dns", func(port int) bool { return port == a })
	again, _ := i.ChoosePort("bus", func(int) bool { return true })
	if a == b || again != a {
		t.Errorf("got %d, %d, then %d", a, b, again)
	}
}
