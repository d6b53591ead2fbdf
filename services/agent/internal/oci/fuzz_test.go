package oci

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzUser looks up any user in any account files. Root is only who is called so: by its number, by nobody's name at
// all, or by an entry of the files that says 0.
func FuzzUser(f *testing.F) {
	f.Add("web", "web:x:1000:1001::/:/bin/sh\n", "extra:x:2000:web\n")
	f.Add("4294967296", "4294967296:x:0:0::/:\n", "") // finding 7
	f.Add("+1000", "+1000:x:0:0::/:\n", "")
	f.Add("a:b", "a:x:1", "b:x:-1:a\n")
	f.Add("", "\x00::::\n#\n", ":::,,,\n")
	f.Fuzz(func(t *testing.T, name, passwd, group string) {
		root := t.TempDir()
		if err := os.Mkdir(filepath.Join(root, "etc"), 0o700); err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{"passwd": passwd, "group": group} {
			if err := os.WriteFile(filepath.Join(root, "etc", file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		u, err := ResolveUser(root, UserRequest{Name: name})
		if err != nil {
			return
		}
		if u.UID > math.MaxInt32 || u.GID > math.MaxInt32 {
			t.Errorf("%q is %+v", name, u)
		}
		who, _, _ := strings.Cut(name, ":")
		if u.UID == 0 && who != "" && strings.Trim(who, "0") != "" && !strings.Contains(passwd, ":0") {
			t.Errorf("%q is root by %q", name, passwd)
		}
	})
}
