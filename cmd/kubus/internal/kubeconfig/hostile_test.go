package kubeconfig

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kubus.dev/services/kit/kittest"
)

// stranger is an unprivileged user who owns the home that the tests play in.
const stranger = 54321

func strangersHome(t *testing.T) (home, kube string) {
	t.Helper()
	kittest.NeedRoot(t)
	root, err := os.MkdirTemp("", "kubus-home")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	home = filepath.Join(root, "home")
	kube = filepath.Join(home, ".kube")
	for _, err := range []error{os.Chmod(root, 0o755), os.MkdirAll(kube, 0o755), os.Chown(home, stranger, stranger), os.Chown(kube, stranger, stranger)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return home, kube
}

func put(t *testing.T, path, text string, mode os.FileMode, uid int) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, uid, uid); err != nil {
		t.Fatal(err)
	}
}

// untouched fails when a file of root has changed in content, owner or mode.
func untouched(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(path); string(data) != text || st.Uid != 0 || st.Mode&0o777 != uint32(mode) {
		t.Errorf("%s: %q, owner %d, mode %o", path, data, st.Uid, st.Mode&0o777)
	}
}

func TestFinding11RootNeitherReadsNorWritesThroughAUsersLinks(t *testing.T) {
	const rootsOwn = "apiVersion: v1\nusers: [{name: r, user: {token: hunter2}}]\n"
	for name, lay := range map[string]func(t *testing.T, home, kube, secret string){
		"the config is a link to a file of root": func(t *testing.T, _, kube, secret string) {
			link(t, secret, filepath.Join(kube, "config"))
		},
		"the folder is a link to one of root": func(t *testing.T, _, kube, secret string) {
			if err := os.Remove(kube); err != nil {
				t.Fatal(err)
			}
			link(t, filepath.Dir(secret), kube)
		},
		"the old temporary name is a link to a file of root": func(t *testing.T, _, kube, secret string) {
			link(t, secret, filepath.Join(kube, "config.kubus-new"))
		},
		"the config is a hard link to a file of root": func(t *testing.T, _, kube, secret string) {
			if err := os.Link(secret, filepath.Join(kube, "config")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for _, given := range []int{stranger, -1} {
			t.Run(name, func(t *testing.T) {
				home, kube := strangersHome(t)
				private := filepath.Join(filepath.Dir(home), "root")
				if err := os.Mkdir(private, 0o755); err != nil {
					t.Fatal(err)
				}
				secret := filepath.Join(private, "config")
				put(t, secret, rootsOwn, 0o600, 0)
				lay(t, home, kube, secret)
				path := filepath.Join(kube, "config")
				_, mergeErr := Merge(path, entry("kubus"), given, given)
				_, _, serverErr := Server(path, "r")
				removeErr := Remove(path, "r")
				t.Logf("merge: %v; server: %v; remove: %v", mergeErr, serverErr, removeErr)
				untouched(t, secret, rootsOwn, 0o600)
				if data, err := os.ReadFile(path); err == nil && strings.Contains(string(data), "hunter2") {
					var st unix.Stat_t
					if unix.Stat(path, &st) == nil && st.Uid != 0 {
						t.Error("the user was given what only root may read")
					}
				}
			})
		}
	}
}

func link(t *testing.T, to, at string) {
	t.Helper()
	if err := os.Symlink(to, at); err != nil {
		t.Fatal(err)
	}
	if err := os.Lchown(at, stranger, stranger); err != nil {
		t.Fatal(err)
	}
}

func TestAUsersFileIsWrittenAsTheUser(t *testing.T) {
	home, kube := strangersHome(t)
	real := filepath.Join(home, "dotfiles")
	put(t, real, others, 0o600, stranger)
	link(t, real, filepath.Join(kube, "config")) // his own link to his own file
	for _, path := range []string{filepath.Join(kube, "config"), filepath.Join(home, "new", "folder", "config")} {
		if _, err := Merge(path, entry("kubus"), stranger, stranger); err != nil {
			t.Fatal(err)
		}
		var st, dir unix.Stat_t
		if err := unix.Stat(path, &st); err != nil || st.Uid != stranger || st.Gid != stranger || st.Mode&0o777 != 0o600 {
			t.Errorf("%s: %+v, %v", path, st, err)
		}
		if err := unix.Stat(filepath.Dir(path), &dir); err != nil || dir.Uid != stranger {
			t.Errorf("its folder: %+v, %v", dir, err)
		}
	}
	if info, err := os.Lstat(filepath.Join(kube, "config")); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v", err)
	}
	if err := Remove(filepath.Join(kube, "config"), "kubus"); err != nil {
		t.Error(err)
	}
	if os.Geteuid() != 0 {
		t.Error("this process is not root's any more")
	}
	if err := os.WriteFile(filepath.Join(t.TempDir(), "x"), nil, 0o600); err != nil {
		t.Error(err)
	}
}

func TestAFifoInPlaceOfTheConfigIsRefusedAtOnce(t *testing.T) {
	_, kube := strangersHome(t)
	path := filepath.Join(kube, "config")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, stranger, stranger); err != nil {
		t.Fatal(err)
	}
	if _, err := Merge(path, entry("kubus"), stranger, stranger); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("got %v", err)
	}
}
