package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// ErrNoPostgres: Debian's package postgresql is not installed.
var ErrNoPostgres = errors.New("the image needs Debian's package postgresql")

// PushPostgres pushes postgres:debian, made of the package that is installed here: its
// programs are in PATH, and there is a user postgres, 999.
func (r *Registry) PushPostgres() error {
	homes, err := filepath.Glob("/usr/lib/postgresql/*")
	if err != nil || len(homes) == 0 {
		return ErrNoPostgres
	}
	home := slices.Max(homes)
	share := filepath.Join("/usr/share/postgresql", filepath.Base(home))
	f := &files{have: map[string]bool{}}
	for _, program := range []string{"postgres", "initdb", "pg_ctl", "pg_isready", "psql"} {
		f.program(filepath.Join(home, "bin", program))
	}
	f.tree(filepath.Join(home, "lib"), func(path string) bool { return strings.HasSuffix(path, ".so") && !strings.Contains(path, "llvm") })
	f.tree(share, func(path string) bool { return !strings.Contains(path, "/man/") })
	if f.err != nil {
		return fmt.Errorf("collecting PostgreSQL: %w", f.err)
	}
	f.list = append(f.list,
		file{name: "etc/passwd", mode: 0o644, data: []byte("root:x:0:0:root:/root:/bin/sh\npostgres:x:999:999:postgres:/tmp:/bin/sh\n")},
		file{name: "etc/group", mode: 0o644, data: []byte("root:x:0:\npostgres:x:999:\n")})
	layer, err := layerOf(f.list)
	if err != nil {
		return err
	}
	box, err := busybox()
	if err != nil {
		return err
	}
	img, err := image([]v1.Layer{box, layer}, v1.Config{User: "999:999", Env: []string{
		"PATH=" + filepath.Join(home, "bin") + ":/bin", "LANG=C", "TZ=UTC", "PGHOST=/tmp", "PGUSER=postgres"}})
	if err != nil {
		return err
	}
	return r.push("postgres:debian", img)
}

// files collects what an image is to hold, at the paths where it is here.
type files struct {
	list []file
	have map[string]bool
	err  error
}

// program adds an executable and the libraries that it is linked to.
func (f *files) program(path string) {
	f.add(path, 0o755)
	out, err := exec.Command("ldd", path).Output()
	if err != nil {
		f.err = errors.Join(f.err, fmt.Errorf("asking for the libraries of %s: %w", path, err))
		return
	}
	for line := range strings.Lines(string(out)) {
		for field := range strings.FieldsSeq(line) {
			if strings.HasPrefix(field, "/") {
				f.add(field, 0o755)
			}
		}
	}
}

// tree adds the files of a folder that keep accepts; shared objects with what they need.
func (f *files) tree(top string, keep func(path string) bool) {
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !keep(path) {
			return err
		}
		if strings.HasSuffix(path, ".so") {
			f.program(path)
		} else {
			f.add(path, 0o644)
		}
		return nil
	})
	f.err = errors.Join(f.err, err)
}

func (f *files) add(path string, mode int64) {
	if f.have[path] {
		return
	}
	f.have[path] = true
	data, err := os.ReadFile(path) // through links
	if err != nil {
		f.err = errors.Join(f.err, err)
		return
	}
	f.list = append(f.list, file{name: strings.TrimPrefix(path, "/"), mode: mode, data: data})
}
