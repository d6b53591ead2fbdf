package tree

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"kubus.dev/services/kit/kittest"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// host makes a folder of the node with a file that must live, and a pod's folder beside it on the same file system.
func host(t *testing.T) (precious, pod string) {
	t.Helper()
	dir := t.TempDir()
	precious, pod = filepath.Join(dir, "host"), filepath.Join(dir, "pod")
	must(t, os.MkdirAll(filepath.Join(precious, "sub"), 0o755), os.MkdirAll(filepath.Join(pod, "volumes/a/b/c"), 0o755),
		os.WriteFile(filepath.Join(precious, "sub", "data"), []byte("alive"), 0o600))
	return precious, pod
}

func alive(t *testing.T, precious string) {
	t.Helper()
	if data, err := os.ReadFile(filepath.Join(precious, "sub", "data")); err != nil || string(data) != "alive" {
		t.Errorf("the node's file: %q, %v", data, err)
	}
}

func gone(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", path, err)
	}
}

func TestFinding13WhatAPodHadMountedIsNeverEmptied(t *testing.T) {
	kittest.NeedRoot(t)
	for name, mount := range map[string]func(precious, pod string) (at string, err error){
		"a bind mount of the same file system, deep": func(precious, pod string) (string, error) {
			at := filepath.Join(pod, "volumes/a/b/c")
			return at, unix.Mount(precious, at, "", unix.MS_BIND, "")
		},
		"a bind mount with a space in its name": func(precious, pod string) (string, error) {
			at := filepath.Join(pod, "volumes/a/b c")
			return at, errors.Join(os.Mkdir(at, 0o755), unix.Mount(precious, at, "", unix.MS_BIND|unix.MS_REC, ""))
		},
		"a bind mount of a file": func(precious, pod string) (string, error) {
			at := filepath.Join(pod, "volumes/a/file")
			return at, errors.Join(os.WriteFile(at, nil, 0o600), unix.Mount(filepath.Join(precious, "sub/data"), at, "", unix.MS_BIND, ""))
		},
		"another file system, and the node's folder in it": func(precious, pod string) (string, error) {
			at := filepath.Join(pod, "volumes/a")
			in := filepath.Join(at, "in")
			return at, errors.Join(unix.Mount("tmpfs", at, "tmpfs", 0, ""), os.Mkdir(in, 0o755), unix.Mount(precious, in, "", unix.MS_BIND, ""))
		},
		"two on top of each other": func(precious, pod string) (string, error) {
			at := filepath.Join(pod, "volumes/a/b")
			return at, errors.Join(unix.Mount(precious, at, "", unix.MS_BIND, ""), unix.Mount(precious, at, "", unix.MS_BIND, ""))
		},
		"a symbolic link to it": func(precious, pod string) (string, error) {
			return "", os.Symlink(precious, filepath.Join(pod, "volumes/link"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			precious, pod := host(t)
			t.Cleanup(func() { _ = UnmountBelow(pod) })
			at, err := mount(precious, pod)
			must(t, err)
			if at != "" {
				if err := Remove(pod); !errors.Is(err, ErrMounted) {
					t.Errorf("with the mount in place: %v", err)
				}
				alive(t, precious)
			}
			must(t, Clear(pod))
			alive(t, precious)
			gone(t, pod)
			must(t, Clear(pod))
		})
	}
}

func TestATreeThatIsDeeperThanThereAreDescriptorsIsRemoved(t *testing.T) {
	t.Parallel()
	top := filepath.Join(t.TempDir(), "deep")
	must(t, os.Mkdir(top, 0o755))
	fd, err := unix.Open(top, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	for i := range 1500 {
		must(t, unix.Mkdirat(fd, "d", 0o755))
		if i%100 == 0 {
			must(t, unix.Mkdirat(fd, ".deep-1", 0o755))
		}
		next, err := unix.Openat(fd, "d", unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		must(t, err, unix.Close(fd))
		fd = next
	}
	must(t, unix.Close(fd))
	must(t, Remove(top))
	gone(t, top)
}

func TestAFolderOfManyFilesIsRemoved(t *testing.T) {
	t.Parallel()
	top := filepath.Join(t.TempDir(), "wide")
	must(t, os.Mkdir(top, 0o755))
	for i := range 3000 {
		must(t, os.WriteFile(filepath.Join(top, strconv.Itoa(i)), nil, 0o000))
	}
	must(t, Remove(top))
	gone(t, top)
}

func TestMountPointsAreReadAsTheKernelWritesThem(t *testing.T) {
	t.Parallel()
	const info = `30 1 0:1 / /pods rw - ext4 /dev/a rw
31 30 0:2 / /pods/a\040b rw - tmpfs tmpfs rw
32 30 0:3 / /pods/a\040b/c\134d rw shared:1 - tmpfs tmpfs rw
33 30 0:4 / /podsother/x rw - tmpfs tmpfs rw
short line
`
	if got := below(info, "/pods"); !slices.Equal(got, []string{"/pods/a b", `/pods/a b/c\d`}) {
		t.Errorf("got %q", got)
	}
}
