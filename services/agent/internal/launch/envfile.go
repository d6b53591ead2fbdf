package launch

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// maxEnvFile bounds what is read of a file of variables: containers write it.
const maxEnvFile = 1 << 20

// fromFile reads a variable from a file of one of the pod's volumes.
func fromFile(ref *corev1.FileKeySelector, volumes map[string]string) (value string, skip bool, err error) {
	dir, ok := volumes[ref.VolumeName]
	if !ok {
		return "", false, fmt.Errorf("cannot find the volume %q referenced by FileKeyRef", ref.VolumeName)
	}
	f, err := openBelow(dir, ref.Path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) && isTrue(ref.Optional) {
			return "", true, nil
		}
		return "", false, errEnvFile
	}
	defer func() { _ = f.Close() }() // only read
	value, err = envValue(io.LimitReader(f, maxEnvFile), ref.Key)
	switch {
	case err != nil:
		return "", false, errEnvFile
	case value != "":
		return value, false, nil
	case isTrue(ref.Optional):
		return "", true, nil
	}
	return "", false, fmt.Errorf("environment variable key %q not found in file %q", ref.Key, ref.Path)
}

// errEnvFile says no more than kubelet does: what is in the file may be secret.
var errEnvFile = errors.New("couldn't parse env file")

// openBelow opens a regular file below a folder. Links, which containers may have made, lead nowhere outside of it, and
// what is no file never holds the agent up.
func openBelow(dir, path string) (*os.File, error) {
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer func() { _ = unix.Close(at) }()
	fd, err := unix.Openat2(at, path, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		_ = f.Close()
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return f, nil
}

// envValue reads one variable of a file of lines NAME='value'. A value is taken as it stands between its quotes, over
// several lines if need be; what is not of that form before the variable is an error.
func envValue(r io.Reader, key string) (string, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxEnvFile)
	for lines.Scan() {
		line := strings.TrimLeft(lines.Text(), " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, ok := strings.Cut(line, "=")
		switch {
		case !ok:
			return "", errors.New("a line has no '='")
		case name == "" || strings.TrimRight(name, " \t") != name:
			return "", errors.New("a variable has no name, or blanks before '='")
		case rest == "" || rest[0] == ' ' || rest[0] == '\t': // an empty value for a shell, whatever follows
			if rest == "" {
				return "", errors.New("a value is not in single quotes")
			}
			if name == key {
				return "", nil
			}
			continue
		case rest[0] != '\'':
			return "", errors.New("a value is not in single quotes")
		}
		value, err := quoted(rest[1:], lines)
		if err != nil || name == key {
			return value, err
		}
	}
	return "", lines.Err()
}

// quoted is the value that begins in text and may go on in further lines.
func quoted(text string, lines *bufio.Scanner) (string, error) {
	var value strings.Builder
	for {
		part, after, closed := strings.Cut(text, "'")
		value.WriteString(part)
		if closed {
			if after = strings.TrimLeft(after, " \t"); after != "" && after[0] != '#' {
				return "", errors.New("something follows a value")
			}
			return value.String(), nil
		}
		value.WriteByte('\n')
		if !lines.Scan() {
			return "", errors.New("a quote is not closed")
		}
		text = lines.Text()
	}
}
