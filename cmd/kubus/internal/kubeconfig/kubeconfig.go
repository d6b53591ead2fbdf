// Package kubeconfig writes the files by which kubectl finds a cluster. It keeps
// whatever else a file holds, and never points a user's current context elsewhere
// unless it pointed nowhere.
//
// Root touches a file of a user with that user's rights, never its own: whatever
// links and files the user has put in the way, nothing is read, changed or given
// away that the user could not reach. A file that belongs to somebody else is refused.
package kubeconfig

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	whole "kubus.dev/services/kit/file"
)

// Entry is one cluster with its user and context, all of one name.
type Entry struct {
	Name                string
	Server              string
	CA, ClientCert, Key []byte // PEM
}

type file map[string]any

// Merge puts the entry into a file, made when missing, as the user uid with the group
// gid; when these are negative, as whoever commands the file's path. current tells
// whether the file's current context is the entry now.
func Merge(path string, e Entry, uid, gid int) (current bool, err error) {
	err = onBehalf(path, uid, gid, func() error {
		f, err := load(path)
		if err != nil {
			return err
		}
		f.set("clusters", e.Name, "cluster", map[string]any{
			"server": e.Server, "certificate-authority-data": base64.StdEncoding.EncodeToString(e.CA),
		})
		f.set("users", e.Name, "user", map[string]any{
			"client-certificate-data": base64.StdEncoding.EncodeToString(e.ClientCert),
			"client-key-data":         base64.StdEncoding.EncodeToString(e.Key),
		})
		f.set("contexts", e.Name, "context", map[string]any{"cluster": e.Name, "user": e.Name})
		if name, _ := f["current-context"].(string); name == "" {
			f["current-context"] = e.Name
		}
		current = f["current-context"] == e.Name
		return f.save(path)
	})
	return current && err == nil, err
}

// Remove takes an entry out of a file, as whoever commands its path; a file that then
// holds nothing is removed.
func Remove(path, name string) error {
	return onBehalf(path, -1, -1, func() error {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		f, err := load(path)
		if err != nil {
			return err
		}
		left := 0
		for _, list := range []string{"clusters", "users", "contexts"} {
			f.set(list, name, "", nil)
			items, _ := f[list].([]any)
			left += len(items)
		}
		if left == 0 {
			return os.Remove(path)
		}
		if f["current-context"] == name {
			f["current-context"] = ""
		}
		return f.save(path)
	})
}

// Server gives the server and authority of a context's cluster; empty for none.
func Server(path, name string) (server string, ca []byte, err error) {
	err = onBehalf(path, -1, -1, func() error {
		f, err := load(path)
		if err != nil {
			return err
		}
		c, _ := f.get("clusters", name, "cluster").(map[string]any)
		server, _ = c["server"].(string)
		text, _ := c["certificate-authority-data"].(string)
		ca, _ = base64.StdEncoding.DecodeString(text)
		return nil
	})
	return server, ca, err
}

func load(path string) (file, error) {
	f := map[string]any{} // not file: nested maps get the type of the outer one
	data, err := readOwn(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	if err := yaml.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("the kubeconfig %s is no valid YAML, so nothing can be added to it; repair it or name another file with --kubeconfig: %w", path, err)
	}
	if f == nil {
		f = map[string]any{}
	}
	f["apiVersion"], f["kind"] = "v1", "Config"
	return f, nil
}

func (f file) items(list string) []any {
	items, _ := f[list].([]any)
	return items
}

func (f file) get(list, name, field string) any {
	for _, it := range f.items(list) {
		if m, ok := it.(map[string]any); ok && m["name"] == name {
			return m[field]
		}
	}
	return nil
}

// set replaces the item of a name; a nil value only removes it.
func (f file) set(list, name, field string, value any) {
	kept := []any{}
	for _, it := range f.items(list) {
		if m, ok := it.(map[string]any); !ok || m["name"] != name {
			kept = append(kept, it)
		}
	}
	if value != nil {
		kept = append(kept, map[string]any{"name": name, field: value})
	}
	f[list] = kept
}

func (f file) save(path string) error {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(map[string]any(f)); err != nil {
		return fmt.Errorf("writing the kubeconfig: %w", err)
	}
	if err := replace(path, b.Bytes()); err != nil {
		return fmt.Errorf("writing the kubeconfig: %w", err)
	}
	return nil
}

// replace puts data in place of a file, or of the file that a link names, in one step.
func replace(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	return whole.Fill(path, 0o600, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}
