package kubeconfig

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

func ownerOf(info os.FileInfo) (uid, gid int, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(st.Uid), int(st.Gid), true
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
