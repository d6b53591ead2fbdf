package launch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

func TestAVariableOfAFileIsTakenAsItStandsInItsQuotes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file, want string
		err        bool
	}{
		"a value":                      {"K='v'\n", "v", false},
		"the first of its name":        {"K='v'\nK='w'\n", "v", false},
		"nothing is expanded":          {`K='$A \n "x"'`, `$A \n "x"`, false},
		"over lines":                   {"K='a\n  b'\n", "a\n  b", false},
		"comments and blanks":          {"# c\n\n \t\n  K='v' # why\n", "v", false},
		"a blank after the equals":     {"K= 'v'\n", "", false},
		"another's blank is passed":    {"A= 'v'\nK='w'\n", "w", false},
		"not there":                    {"A='v'\n", "", false},
		"what comes after is not read": {"K='v'\nbad\n", "v", false},
		"no equals":                    {"bad\nK='v'\n", "", true},
		"no quotes":                    {"K=v\n", "", true},
		"nothing at all":               {"K=\n", "", true},
		"double quotes":                {`K="v"`, "", true},
		"blank before the equals":      {"K ='v'\n", "", true},
		"no name":                      {"='v'\n", "", true},
		"open":                         {"K='v\n", "", true},
		"something after":              {"K='v'x\n", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := envValue(strings.NewReader(c.file), "K")
			if (err != nil) != c.err || err == nil && got != c.want {
				t.Errorf("got %q, %v; want %q, error %v", got, err, c.want, c.err)
			}
		})
	}
}

func TestAFileOfVariablesIsNeverOutsideOfItsVolume(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	volume := filepath.Join(top, "volume")
	if err := os.MkdirAll(filepath.Join(volume, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(top, "secret"), "K='secret'")
	write(filepath.Join(volume, "d", "env"), "K='v'")
	for link, to := range map[string]string{"up": "../secret", "abs": filepath.Join(top, "secret"), "within": "/d/env"} {
		if err := os.Symlink(to, filepath.Join(volume, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(volume, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	yes := true
	for path, c := range map[string]struct {
		optional *bool
		want     string
		skip     bool
		err      string
	}{
		"d/env":  {want: "v"},
		"within": {want: "v"},
		"up":     {err: "couldn't parse env file"},
		"abs":    {err: "couldn't parse env file"},
		"fifo":   {err: "couldn't parse env file"},
		"d":      {err: "couldn't parse env file"},
		"none":   {err: "couldn't parse env file"},
		"./none": {optional: &yes, skip: true},
	} {
		got, skip, err := fromFile(&corev1.FileKeySelector{VolumeName: "v", Path: path, Key: "K", Optional: c.optional}, map[string]string{"v": volume})
		if text := errorText(err); got != c.want || skip != c.skip || text != c.err {
			t.Errorf("%s: got %q, skipped %v, %q; want %+v", path, got, skip, text, c)
		}
	}
	if _, _, err := fromFile(&corev1.FileKeySelector{VolumeName: "w"}, nil); errorText(err) != `cannot find the volume "w" referenced by FileKeyRef` {
		t.Errorf("a volume that is not there: %v", err)
	}
	if _, _, err := fromFile(&corev1.FileKeySelector{VolumeName: "v", Path: "d/env", Key: "X"}, map[string]string{"v": volume}); errorText(err) != `environment variable key "X" not found in file "d/env"` {
		t.Errorf("a key that is not there: %v", err)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
