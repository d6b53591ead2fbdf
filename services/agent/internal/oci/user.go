package oci

import (
	"bufio"
	"errors"
	"fmt"
	"io"
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
	if id, err := strconv.ParseUint(userPart, 10, 31); err == nil {
		u.UID = uint32(id)
		if e := find(passwd, func(f []string) bool { return len(f) > 3 && f[2] == userPart }); e != nil {
			name, u.GID = e[0], number(e[3])
		}
	} else {
		e := find(passwd, func(f []string) bool { return len(f) > 3 && f[0] == userPart })
		if e == nil {
			return User{}, fmt.Errorf("unable to find user %s: no matching entries in passwd file", userPart)
		}
		name, u.UID, u.GID = e[0], number(e[2]), number(e[3])
	}
	groups, err := accounts(rootfs, "etc/group")
	if err != nil {
		return User{}, err
	}
	if groupPart != "" {
		if id, err := strconv.ParseUint(groupPart, 10, 31); err == nil {
			u.GID = uint32(id)
		} else {
			e := find(groups, func(f []string) bool { return len(f) > 2 && f[0] == groupPart })
			if e == nil {
				return User{}, fmt.Errorf("unable to find group %s: no matching entries in group file", groupPart)
			}
			u.GID = number(e[2])
		}
	}
	u.Groups = append(u.Groups, u.GID)
	if name != "" && !req.Strict {
		for _, f := range groups {
			if len(f) > 3 && slices.Contains(strings.Split(f[3], ","), name) {
				u.Groups = append(u.Groups, number(f[2]))
			}
		}
	}
	for _, g := range req.Supplemental {
		u.Groups = append(u.Groups, uint32(g))
	}
	slices.Sort(u.Groups)
	u.Groups = slices.Compact(u.Groups)
	return u, nil
}

func number(s string) uint32 {
	n, _ := strconv.ParseUint(s, 10, 32)
	return uint32(n)
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
