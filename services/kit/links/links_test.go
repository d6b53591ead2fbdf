package links

import (
	"errors"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestAnInterruptedListIsAskedForAgain(t *testing.T) {
	t.Parallel()
	asked := 0
	got, err := whole(func() ([]int, error) {
		if asked++; asked < 3 {
			return []int{asked}, netlink.ErrDumpInterrupted
		}
		return []int{1, 2, 3}, nil
	})
	if err != nil || len(got) != 3 || asked != 3 {
		t.Errorf("%v, %v after %d times", got, err, asked)
	}
	asked = 0
	if got, err := whole(func() ([]int, error) { asked++; return []int{1}, netlink.ErrDumpInterrupted }); !errors.Is(err, netlink.ErrDumpInterrupted) || got != nil || asked != tries {
		t.Errorf("of a kernel that never rests: %v, %v after %d times", got, err, asked)
	}
	broken := errors.New("broken")
	asked = 0
	if _, err := whole(func() ([]int, error) { asked++; return nil, broken }); !errors.Is(err, broken) || asked != 1 {
		t.Errorf("another error: %v after %d times", err, asked)
	}
}

func TestTheKernelIsAsked(t *testing.T) {
	t.Parallel()
	all, err := All()
	if err != nil || len(all) == 0 {
		t.Fatal(all, err)
	}
	loopback := false
	addresses, err := Addresses(nil, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		loopback = loopback || a.IP.IsLoopback()
	}
	if !loopback {
		t.Errorf("no loopback in %v", addresses)
	}
	if _, err := Routes(netlink.FAMILY_V4); err != nil {
		t.Error(err)
	}
	if UplinkMTU() < 576 {
		t.Error(UplinkMTU())
	}
}
