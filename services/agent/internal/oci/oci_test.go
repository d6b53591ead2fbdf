package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestUsersComeFromTheImage(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(name, data string) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/:/bin/sh\n# comment\nbroken\n4ever:x:44:45::/:/x\nevil:x:zero:0::/:/x\nwrap:x:4294967296:1::/:/x\n")
	write("etc/group", "root:x:0:\nweb:x:1001:\nextra:x:2000:other,web\n")
	id := func(n int64) *int64 { return &n }
	for name, c := range map[string]struct {
		req  UserRequest
		want string
	}{
		"nobody said anything":            {UserRequest{}, "0:0 [0]"},
		"a name":                          {UserRequest{Name: "web"}, "1000:1001 [1001 2000]"},
		"a name and a group":              {UserRequest{Name: "web:extra"}, "1000:2000 [2000]"},
		"a number the image knows":        {UserRequest{UID: id(1000)}, "1000:1001 [1001 2000]"},
		"a number it does not know":       {UserRequest{UID: id(4242)}, "4242:0 [0]"},
		"numbers in the image":            {UserRequest{Name: "5:6"}, "5:6 [6]"},
		"the pod's group":                 {UserRequest{UID: id(1000), GID: id(3000)}, "1000:3000 [2000 3000]"},
		"supplemental groups":             {UserRequest{Name: "web", Supplemental: []int64{9, 2000}}, "1000:1001 [9 1001 2000]"},
		"supplemental groups, strict":     {UserRequest{Name: "web", Supplemental: []int64{9}, Strict: true}, "1000:1001 [9 1001]"},
		"the pod's user over the image's": {UserRequest{UID: id(7), Name: "web:extra"}, "7:0 [0]"},
		"an unknown name":                 {UserRequest{Name: "nobody"}, "unable to find user nobody: no matching entries in passwd file"},
		"an unknown group":                {UserRequest{Name: "web:none"}, "unable to find group none: no matching entries in group file"},
		"a name that begins with a digit": {UserRequest{Name: "4ever"}, "44:45 [45]"},
		"a supplemental group below zero": {UserRequest{Supplemental: []int64{-1}}, `group "-1" is not an id between 0 and 2147483647`},
		"a user of the pod below zero":    {UserRequest{UID: id(-7)}, `user "-7" is not an id between 0 and 2147483647`},
		"an entry whose id is no number":  {UserRequest{Name: "evil"}, `the image's passwd file has "zero" for an id`},
		"an entry whose id is too large":  {UserRequest{Name: "wrap"}, `the image's passwd file has "4294967296" for an id`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, err := ResolveUser(root, c.req)
			got := fmt.Sprintf("%d:%d %v", u.UID, u.GID, u.Groups)
			if err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestUserFilesCannotPointOutOfTheImage(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(outside, []byte("evil:x:0:0::/:/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(root, "etc/passwd")); err != nil {
		t.Fatal(err)
	}
	if _, err := ResolveUser(root, UserRequest{Name: "evil"}); err == nil {
		t.Error("a user of the node was found")
	}
}

func TestCapabilities(t *testing.T) {
	t.Parallel()
	all := known
	less := slices.DeleteFunc(slices.Clone(known), func(c string) bool { return c == "CAP_SYS_RESOURCE" || c == "CAP_CHOWN" })
	for name, c := range map[string]struct {
		add, drop  []string
		privileged bool
		bounding   []string
		has, lacks string
		count      int
	}{
		"nothing said":                    {nil, nil, false, all, "CAP_CHOWN", "CAP_SYS_ADMIN", 14},
		"one more":                        {[]string{"NET_ADMIN"}, nil, false, all, "CAP_NET_ADMIN", "CAP_SYS_ADMIN", 15},
		"with the prefix, in lower case":  {[]string{"cap_net_admin"}, nil, false, all, "CAP_NET_ADMIN", "", 15},
		"drop all":                        {nil, []string{"ALL"}, false, all, "", "CAP_CHOWN", 0},
		"drop all but one":                {[]string{"NET_BIND_SERVICE"}, []string{"ALL"}, false, all, "CAP_NET_BIND_SERVICE", "CAP_CHOWN", 1},
		"add all but one":                 {[]string{"ALL"}, []string{"SYS_ADMIN"}, false, all, "CAP_BPF", "CAP_SYS_ADMIN", len(all) - 1},
		"privileged":                      {nil, []string{"ALL"}, true, all, "CAP_SYS_ADMIN", "", len(all)},
		"what the node lacks":             {[]string{"SYS_RESOURCE"}, nil, false, less, "CAP_KILL", "CAP_SYS_RESOURCE", 13},
		"privileged, what the node lacks": {nil, nil, true, less, "CAP_SYS_ADMIN", "CAP_SYS_RESOURCE", len(all) - 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := capabilities(c.add, c.drop, c.privileged, c.bounding)
			if err != nil || len(got) != c.count || c.has != "" && !slices.Contains(got, c.has) || c.lacks != "" && slices.Contains(got, c.lacks) {
				t.Errorf("got %d %v, %v", len(got), got, err)
			}
		})
	}
	if _, err := capabilities([]string{"FLY"}, nil, false, all); err == nil {
		t.Error("an unknown capability was taken")
	}
}

func build(t *testing.T, change func(*Input)) *specs.Spec {
	t.Helper()
	in := Input{Args: []string{"x"}, Namespaces: Namespaces{Net: "/ns/net", IPC: "/ns/ipc", UTS: "/ns/uts"}, CgroupsPath: "/k/p/c"}
	if change != nil {
		change(&in)
	}
	spec, err := Build(in, Node{Bounding: known, MinOOMScoreAdj: 0})
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestSpec(t *testing.T) {
	t.Parallel()
	t.Run("ordinary containers see masked paths, no seccomp, their pod's namespaces", func(t *testing.T) {
		t.Parallel()
		s := build(t, nil)
		if s.Linux.Seccomp != nil || !slices.Contains(s.Linux.MaskedPaths, "/proc/kcore") || s.Process.NoNewPrivileges {
			t.Errorf("%+v", s.Linux)
		}
		if !slices.Contains(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: "/ns/net"}) ||
			!slices.Contains(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.PIDNamespace}) {
			t.Errorf("namespaces: %v", s.Linux.Namespaces)
		}
	})
	t.Run("host namespaces are left out", func(t *testing.T) {
		t.Parallel()
		s := build(t, func(in *Input) { in.Namespaces = Namespaces{Host, Host, Host, Host} })
		if len(s.Linux.Namespaces) != 1 {
			t.Errorf("namespaces: %v", s.Linux.Namespaces)
		}
	})
	t.Run("a score below what the kernel allows is raised", func(t *testing.T) {
		t.Parallel()
		if s := build(t, func(in *Input) { in.Resources.OOMScoreAdj = -997 }); *s.Process.OOMScoreAdj != 0 {
			t.Errorf("score %d", *s.Process.OOMScoreAdj)
		}
	})
	t.Run("the pod's mounts replace ours and come by depth", func(t *testing.T) {
		t.Parallel()
		s := build(t, func(in *Input) {
			in.Mounts = []Mount{{Source: "/b", Destination: "/a/b/c"}, {Source: "/s", Destination: "/dev/shm/"},
				{Source: "/a", Destination: "/a", ReadOnly: true, Propagation: "rslave"}}
		})
		var order []string
		for _, m := range s.Mounts[len(s.Mounts)-3:] {
			order = append(order, m.Destination+" "+strings.Join(m.Options, ","))
		}
		if got := strings.Join(order, "; "); got != "/a rbind,rslave,ro; /dev/shm rbind,rprivate,rw; /a/b/c rbind,rprivate,rw" {
			t.Errorf("mounts: %s", got)
		}
		count := 0
		for _, m := range s.Mounts {
			if m.Destination == "/dev/shm" {
				count++
			}
		}
		if count != 1 || s.Linux.RootfsPropagation != "rslave" {
			t.Errorf("/dev/shm is mounted %d times, root %s", count, s.Linux.RootfsPropagation)
		}
	})
	t.Run("a memory limit allows no swap beyond it", func(t *testing.T) {
		t.Parallel()
		s := build(t, func(in *Input) { in.Resources = Resources{MemoryLimit: 1 << 20, CPUQuota: 5000, PidsLimit: 7} })
		r := s.Linux.Resources
		if *r.Memory.Limit != 1<<20 || *r.Memory.Swap != 1<<20 || *r.CPU.Period != 100000 || *r.Pids.Limit != 7 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("the environment has a PATH and the last of a name wins", func(t *testing.T) {
		t.Parallel()
		s := build(t, func(in *Input) { in.Hostname, in.Env = "h", []string{"A=1", "PATH=/x", "A=2"} })
		if got := strings.Join(s.Process.Env, " "); got != "PATH=/x HOSTNAME=h A=2" {
			t.Errorf("env: %s", got)
		}
	})
	t.Run("no command is an error", func(t *testing.T) {
		t.Parallel()
		if _, err := Build(Input{}, Node{}); err == nil || err.Error() != "no command specified" {
			t.Errorf("%v", err)
		}
	})
	t.Run("the runtime's default profile depends on the container's capabilities", func(t *testing.T) {
		t.Parallel()
		for name, c := range map[string]struct {
			add, drop      []string
			allow, refused []string
		}{
			"ordinary": {nil, nil, []string{"read", "openat2", "execve", "epoll_wait", "futex", "statx", "chroot", "ptrace"},
				[]string{"mount", "unshare", "setns", "bpf", "kexec_load", "init_module", "keyctl", "io_uring_setup", "open_by_handle_at", "reboot",
					"perf_event_open", "userfaultfd", "settimeofday", "acct"}},
			"none":      {nil, []string{"ALL"}, []string{"read", "ptrace"}, []string{"chroot", "mount"}},
			"SYS_ADMIN": {[]string{"SYS_ADMIN"}, nil, []string{"mount", "unshare", "setns", "clone"}, []string{"reboot", "settimeofday"}},
			"SYS_TIME":  {[]string{"SYS_TIME"}, nil, []string{"settimeofday"}, []string{"mount"}},
			"SYS_BOOT":  {[]string{"SYS_BOOT"}, nil, []string{"reboot"}, []string{"mount"}},
			"PERFMON":   {[]string{"PERFMON"}, nil, []string{"perf_event_open"}, []string{"bpf"}},
		} {
			bounding := Node{Bounding: known}
			s, err := Build(Input{Args: []string{"x"}, Seccomp: "RuntimeDefault", AddCapabilities: c.add, DropCapabilities: c.drop}, bounding)
			if err != nil {
				t.Fatal(err)
			}
			if s.Linux.Seccomp.DefaultAction != specs.ActErrno || len(s.Linux.Seccomp.Architectures) == 0 {
				t.Errorf("%s: what is not listed gets %s, architectures are %v", name, s.Linux.Seccomp.DefaultAction, s.Linux.Seccomp.Architectures)
			}
			for _, call := range c.allow {
				if !allowed(s.Linux.Seccomp, call) {
					t.Errorf("%s: %s is refused", name, call)
				}
			}
			for _, call := range c.refused {
				if allowed(s.Linux.Seccomp, call) {
					t.Errorf("%s: %s is allowed", name, call)
				}
			}
		}
	})
}

func TestHugePagesOfOtherSizesAreNone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sizes []int64
		want  []specs.LinuxHugepageLimit
	}{
		"the kernel can tell":    {[]int64{2 << 20, 1 << 30}, []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}, {Pagesize: "1GB"}}},
		"the kernel cannot tell": {nil, nil},
	} {
		s, err := Build(Input{Args: []string{"x"}, Hugepages: map[int64]int64{2 << 20: 4 << 20}}, Node{PageSizes: c.sizes})
		if err != nil || !slices.Equal(s.Linux.Resources.HugepageLimits, c.want) {
			t.Errorf("%s: %v, %v, want %v", name, s.Linux.Resources.HugepageLimits, err, c.want)
		}
	}
}

func TestDevicesOfTheContainerDeviceInterfaceEditTheSpec(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const vendor = `{"cdiVersion":"0.6.0","kind":"example.com/card","containerEdits":{"env":["ALL=1"]},
		"devices":[{"name":"a","containerEdits":{"env":["CARD=a"],"mounts":[{"hostPath":"/lib","containerPath":"/card","options":["ro","bind"]}]}}]}`
	if err := os.WriteFile(filepath.Join(dir, "example.json"), []byte(vendor), 0o600); err != nil {
		t.Fatal(err)
	}
	node := Node{CDIDirs: []string{filepath.Join(dir, "none"), dir}}
	s, err := Build(Input{Args: []string{"x"}, CDI: []string{"example.com/card=a"}, Annotations: map[string]string{"k": "v"}}, node)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(s.Process.Env, "CARD=a") || !slices.Contains(s.Process.Env, "ALL=1") || s.Annotations["k"] != "v" ||
		!slices.ContainsFunc(s.Mounts, func(m specs.Mount) bool { return m.Destination == "/card" && m.Source == "/lib" }) {
		t.Errorf("environment %v, annotations %v, mounts %v", s.Process.Env, s.Annotations, s.Mounts)
	}
	_, err = Build(Input{Args: []string{"x"}, CDI: []string{"example.com/card=b"}}, node)
	if err == nil || err.Error() != "CDI device injection failed: unresolvable CDI devices example.com/card=b" {
		t.Errorf("a device that nobody knows: %v", err)
	}
}

// allowed tells whether a profile lets a call through whatever its arguments.
func allowed(p *specs.LinuxSeccomp, call string) bool {
	return slices.ContainsFunc(p.Syscalls, func(s specs.LinuxSyscall) bool {
		return s.Action == specs.ActAllow && len(s.Args) == 0 && slices.Contains(s.Names, call)
	})
}

func TestFinding7AnImageCannotGiveANumberAnotherMeaning(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"4294967296", "2147483648", "+1000", "-1", "-0", "+0", "99999999999999999999", "1000-1", "+", "-"} {
		root := t.TempDir()
		if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{"passwd", "group"} { // the image says that it is root
			if err := os.WriteFile(filepath.Join(root, "etc", file), []byte(text+":x:0:0::/:/bin/sh\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{text, "1000:" + text} {
			if u, err := ResolveUser(root, UserRequest{Name: name}); err == nil {
				t.Errorf("%s runs as %+v", name, u)
			}
		}
	}
}

func TestFinding8AProfileWithoutADefaultIsNone(t *testing.T) {
	t.Parallel()
	for text, good := range map[string]bool{`{}`: false, `{"syscalls":[]}`: false, `[]`: false, `{"defaultAction":"SCMP_ACT_ERRNO"}`: true} {
		path := filepath.Join(t.TempDir(), "p.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := localSeccomp(path); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzResolveUser(f *testing.F) {
	f.Add("1000", "root:x:0:0::/:/bin/sh\n", "wheel:x:0:root\n")
	f.Add("+1000:-5", "+1000:x:0:0\n", "-5:x:0:\n")
	f.Add("a:b", "a:x:4294967296:0\n", "b:x:x:\n")
	f.Fuzz(func(t *testing.T, name, passwd, group string) {
		root := t.TempDir()
		if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{"passwd": passwd, "group": group} {
			if err := os.WriteFile(filepath.Join(root, "etc", file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		u, err := ResolveUser(root, UserRequest{Name: name})
		user, _, _ := strings.Cut(name, ":")
		if id, numeric, iderr := ID(user); err == nil && numeric && (iderr != nil || id != u.UID) {
			t.Errorf("%q runs as %d", name, u.UID)
		}
	})
}
