package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kubus.dev/services/kit/kittest"
)

// loopDevice is a block device with the content, until the test ends.
func loopDevice(t *testing.T, content string) string {
	t.Helper()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		kittest.Lack(t, "loop devices")
	}
	defer control.Close()
	file, err := os.OpenFile(filepath.Join(t.TempDir(), "disk"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString(content); err != nil {
		t.Fatal(err)
	}
	if err := file.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	for range 10 { // another may take the free one
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			t.Fatal(err)
		}
		path := fmt.Sprintf("/dev/loop%d", n)
		device, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.IoctlSetInt(int(device.Fd()), unix.LOOP_SET_FD, int(file.Fd())); err != nil {
			device.Close()
			continue
		}
		t.Cleanup(func() {
			if err := unix.IoctlSetInt(int(device.Fd()), unix.LOOP_CLR_FD, 0); err != nil {
				t.Errorf("%s is left: %v", path, err)
			}
			device.Close()
		})
		return path
	}
	t.Fatal("no loop device is free")
	return ""
}

func TestAContainerReadsAndWritesItsBlockDeviceAndNoOther(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	disk := loopDevice(t, "written before")
	script := "dd if=/dev/disk bs=14 count=1; echo; printf ours | dd of=/dev/disk bs=4 conv=notrunc && dd if=/dev/disk bs=14 count=1; echo"
	for _, c := range [][2]string{{"r", "written before"}, {"mrw", "oursten before"}} {
		permissions, want := c[0], c[1]
		id := n.run(n.pod(nil), img, script, func(c *ContainerSpec) {
			c.Devices = []Device{{HostPath: disk, ContainerPath: "/dev/disk", Permissions: permissions}}
		})
		n.end(id)
		log := n.log(id)
		if permissions == "r" && (!strings.Contains(log, "F "+want) || strings.Contains(log, "oursten")) {
			t.Errorf("read only, the log is\n%s", log)
		}
		if permissions == "mrw" && !strings.Contains(log, "F "+want) {
			t.Errorf("the log is\n%s", log)
		}
	}
	id := n.run(n.pod(nil), img, fmt.Sprintf("busybox mknod /tmp/d b 7 %s; dd if=/tmp/d bs=1 count=1 && echo open", strings.TrimPrefix(disk, "/dev/loop")), nil)
	n.end(id)
	if log := n.log(id); strings.Contains(log, "F open") {
		t.Errorf("a container without the device opened it:\n%s", log)
	}
}
