package kubeconfig

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxBytes bounds what is read of a kubeconfig.
const maxBytes = 8 << 20

// onBehalf runs f with the file system rights of a user when this process is root's
// and the user is another; a negative uid means whoever commands the path.
func onBehalf(path string, uid, gid int, f func() error) error {
	if os.Geteuid() != 0 {
		return f()
	}
	if uid < 0 {
		uid, gid = commander(path)
	}
	if uid == 0 {
		return f()
	}
	result := make(chan error, 1)
	go func() { result <- as(uid, gid, f) }() // its thread ends with it
	err := <-result
	// The kernel makes a process undumpable when one of its threads changes who it is.
	return errors.Join(err, unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0))
}

// commander is the first owner on the way to a path who is not root: he decides what
// lies below. Links count as themselves.
func commander(path string) (uid, gid int) {
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		var st unix.Stat_t
		if unix.Lstat(path[:i], &st) != nil {
			break
		}
		if st.Uid != 0 {
			return int(st.Uid), int(st.Gid)
		}
	}
	return 0, 0
}

// as gives up the calling thread's rights to files for those of a user, for good, and
// runs f. The thread stays locked, so that it ends with its goroutine.
func as(uid, gid int, f func() error) error {
	runtime.LockOSThread()
	groups := []uint32{uint32(gid)}
	if err := setThreadGroups(groups); err != nil {
		return fmt.Errorf("becoming user %d: %w", uid, err)
	}
	_, _ = unix.SetfsgidRetGid(gid) // tells the old one, not whether it worked
	_, _ = unix.SetfsuidRetUid(uid)
	nowGID, _ := unix.SetfsgidRetGid(-1)
	nowUID, _ := unix.SetfsuidRetUid(-1)
	if nowUID != uid || nowGID != gid {
		return fmt.Errorf("becoming user %d: the kernel refuses", uid)
	}
	return f()
}

// readOwn reads a regular file that belongs to whom we act as.
func readOwn(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	if me, _ := unix.SetfsuidRetUid(-1); int(st.Uid) != me {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("it belongs to user %d, not to %d", st.Uid, me)}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if len(data) > maxBytes {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("it is too large")}
	}
	return data, err
}

// UserFile is the invoking user's kubeconfig: the first file of $KUBECONFIG, or
// ~/.kube/config; under sudo that of the user who called it.
func UserFile(getenv func(string) string) (path string, uid, gid int, err error) {
	uid, gid = -1, -1
	home := ""
	if name := getenv("SUDO_USER"); name != "" && os.Geteuid() == 0 {
		u, err := user.Lookup(name)
		if err != nil {
			return "", -1, -1, err
		}
		home = u.HomeDir
		uid, _ = strconv.Atoi(u.Uid)
		gid, _ = strconv.Atoi(u.Gid)
	}
	if list := getenv("KUBECONFIG"); list != "" {
		for _, p := range filepath.SplitList(list) {
			if strings.TrimSpace(p) != "" {
				abs, err := filepath.Abs(p)
				return abs, uid, gid, err
			}
		}
	}
	if home == "" {
		if home, err = os.UserHomeDir(); err != nil {
			return "", -1, -1, err
		}
	}
	return filepath.Join(home, ".kube", "config"), uid, gid, nil
}
