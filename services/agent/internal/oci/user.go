package oci

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// User is whom a process runs as.
type User struct {
	UID, GID uint32
	Groups   []uint32
}

// UserRequest says who is asked for: Name ("", "user", "user:group", numbers or names) with UID and GID before it.
type UserRequest struct {
	UID, GID     *int64
	Name         string
	Supplemental []int64
	Strict       bool // without the groups that the image's /etc/group gives
}

// ID reads a user or group id as an image or a pod gives it; isNumber tells one that is meant to be a number from a
// name. What looks like a number and is none that the kernel and Kubernetes both know, 0 to 2^31-1 in decimal digits,
// is an error and never a name: whoever made the image would else say in its passwd file what 4294967296 means.
func ID(text string) (id uint32, isNumber bool, err error) {
	if text == "" || strings.Trim(text, "+-0123456789") != "" {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, true, fmt.Errorf("%q is not an id between 0 and %d", text, math.MaxInt32)
	}
	return uint32(n), true, nil
}

// maxAccountFile bounds /etc/passwd and /etc/group of an image.
const maxAccountFile = 4 << 20

// ResolveUser looks names up in the image's own files, which are opened inside rootfs whatever links say.
func ResolveUser(rootfs string, req UserRequest) (User, error) {
	userPart, groupPart, _ := strings.Cut(req.Name, ":")
	if req.UID != nil {
		userPart, groupPart = strconv.FormatInt(*req.UID, 10), ""
	}
	if req.GID != nil {
		groupPart = strconv.FormatInt(*req.GID, 10)
	}
	passwd, err := accounts(rootfs, "etc/passwd")
	if err != nil {
		return User{}, err
	}
	u := User{}
	name := ""
	if userPart == "" {
		userPart = "0"
	}
	id, numeric, err := ID(userPart)
	switch {
	case err != nil:
		return User{}, fmt.Errorf("user %w", err)
	case numeric:
		u.UID = id
		if e := find(passwd, func(f []string) bool { return len(f) > 3 && same(f[2], id) }); e != nil {
			name = e[0]
			if u.GID, err = number("passwd", e[3]); err != nil {
				return User{}, err
			}
		}
	default:
		e := find(passwd, func(f []string) bool { return len(f) > 3 && f[0] == userPart })
		if e == nil {
			return User{}, fmt.Errorf("unable to find user %s: no matching entries in passwd file", userPart)
		}
		name = e[0]
		if u.UID, err = number("passwd", e[2]); err != nil {
			return User{}, err
		}
		if u.GID, err = number("passwd", e[3]); err != nil {
			return User{}, err
		}
	}
	groups, err := accounts(rootfs, "etc/group")
	if err != nil {
		return User{}, err
	}
	if groupPart != "" {
		switch id, numeric, err := ID(groupPart); {
		case err != nil:
			return User{}, fmt.Errorf("group %w", err)
		case numeric:
			u.GID = id
		default:
			e := find(groups, func(f []string) bool { return len(f) > 2 && f[0] == groupPart })
			if e == nil {
				return User{}, fmt.Errorf("unable to find group %s: no matching entries in group file", groupPart)
			}
			if u.GID, err = number("group", e[2]); err != nil {
				return User{}, err
			}
		}
	}
	u.Groups = append(u.Groups, u.GID)
	if name != "" && !req.Strict {
		for _, f := range groups {
			if len(f) > 3 && slices.Contains(strings.Split(f[3], ","), name) {
				g, err := number("group", f[2])
				if err != nil {
					return User{}, err
				}
				u.Groups = append(u.Groups, g)
			}
		}
	}
	for _, g := range req.Supplemental {
		if g < 0 || g > math.MaxInt32 {
			return User{}, fmt.Errorf("group \"%d\" is not an id between 0 and %d", g, math.MaxInt32)
		}
		u.Groups = append(u.Groups, uint32(g))
	}
	slices.Sort(u.Groups)
	u.Groups = slices.Compact(u.Groups)
	return u, nil
}

// number reads an id of an account file.
func number(file, text string) (uint32, error) {
	id, numeric, err := ID(text)
	if err != nil || !numeric {
		return 0, fmt.Errorf("the image's %s file has %q for an id", file, text)
	}
	return id, nil
}

func same(text string, id uint32) bool {
	n, numeric, err := ID(text)
	return numeric && err == nil && n == id
}

func find(lines [][]string, match func([]string) bool) []string {
	if i := slices.IndexFunc(lines, match); i >= 0 {
		return lines[i]
	}
	return nil
}

// accounts splits a colon-separated file of the image; a missing file is an empty one.
func accounts(rootfs, name string) ([][]string, error) {
	root, err := unix.Open(rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, name, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s of the image: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, err
	}
	var lines [][]string
	scanner := bufio.NewScanner(io.LimitReader(f, maxAccountFile))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		if line := strings.TrimSpace(scanner.Text()); line != "" && line[0] != '#' {
			lines = append(lines, strings.Split(line, ":"))
		}
	}
	return lines, scanner.Err()
}
