package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"kubus.dev/services/kit/kittest"
)

// home is the network namespace of the calling thread.
func home(t *testing.T) string {
	t.Helper()
	name, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAFunctionHasAThreadThatIsNotTheProcesss(t *testing.T) {
	failed := errors.New("failed")
	for range 50 { // the test's own goroutine may be on the first thread or not
		first := false
		if err := OnOwnThread(func() error {
			first = unix.Gettid() == unix.Getpid()
			return failed
		}); first || err != failed {
			t.Fatalf("on the first thread: %v, %v", first, err)
		}
	}
}

func TestAFunctionIsInTheNamespaceAndNobodyElse(t *testing.T) {
	kittest.NeedRoot(t)
	kept, before := filepath.Join(t.TempDir(), "net"), home(t)
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := OnOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		return unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), kept, "", unix.MS_BIND, "")
	}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(kept, unix.MNT_DETACH) }()
	inside := ""
	if err := In(func() error {
		inside = home(t)
		return nil
	}, kept); err != nil || inside == before || inside == "" {
		t.Errorf("inside it is %s, outside %s, %v", inside, before, err)
	}
	for range 50 {
		if got := home(t); got != before {
			t.Fatalf("the process is in %s now", got)
		}
		if err := OnOwnThread(func() error {
			if got := home(t); got != before {
				return fmt.Errorf("another thread is in %s", got)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := In(func() error { return nil }, kept+"-no"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a namespace that there is not: %v", err)
	}
}
