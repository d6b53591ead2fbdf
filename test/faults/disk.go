package faults

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
)

// disk is a file system in a file, mounted where only its server sees it: with the server
// the mount is gone. What the server has not synced is in no one else's memory, so that a
// copy of the file is what a disk has when the power goes.
type disk struct {
	t            testing.TB
	image, mount string
}

// Bytes of an image, most of which are never written.
const imageSize = 96 << 20

func newDisk(t testing.TB, image, mount string) *disk {
	t.Helper()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, imageSize); err != nil {
		t.Fatal(err)
	}
	// Nothing is left to be written later by the kernel.
	out, err := exec.Command("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image).CombinedOutput()
	if err != nil {
		t.Fatalf("making a file system: %v\n%s", err, out)
	}
	return &disk{t, image, mount}
}

// run gives the command that runs args with the disk mounted.
func (d *disk) run(args []string) []string {
	script := fmt.Sprintf(`mount -o loop,noatime,commit=900 %q %q && exec "$@"`, d.image, d.mount)
	return append([]string{"unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"}, args...)
}

// cut gives the disk the state that the file has now; the server must be stopped and is
// killed in between.
func (d *disk) cut(kill func()) {
	d.t.Helper()
	var before []byte
	for { // until nobody wrote to it meanwhile
		after, err := os.ReadFile(d.image)
		if err != nil {
			d.t.Fatal(err)
		}
		if bytes.Equal(before, after) {
			break
		}
		before = after
	}
	kill()
	// A new file: the kernel may still write to the old one.
	if err := os.Remove(d.image); err != nil {
		d.t.Fatal(err)
	}
	f, err := os.OpenFile(d.image, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, bytes.NewReader(before)); err != nil {
		d.t.Fatal(err)
	}
}
