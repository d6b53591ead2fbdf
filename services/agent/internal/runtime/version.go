package runtime

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// runcVersion is major, minor and patch.
type runcVersion [3]int

// oldestRunc has the fixes for the escapes through masked paths, /dev/console and procfs writes, and later ones.
var oldestRunc = runcVersion{1, 5, 2}

func (v runcVersion) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

func (v runcVersion) less(o runcVersion) bool {
	for i := range v {
		if v[i] != o[i] {
			return v[i] < o[i]
		}
	}
	return false
}

var runcVersionLine = regexp.MustCompile(`runc version v?(\d+)\.(\d+)\.(\d+)(\S*)`)

func parseRuncVersion(output string) (runcVersion, error) {
	m := runcVersionLine.FindStringSubmatch(output)
	if m == nil {
		line, _, _ := strings.Cut(output, "\n")
		return runcVersion{}, fmt.Errorf("%q names no runc version", line)
	}
	v := runcVersion{}
	for i := range v {
		v[i], _ = strconv.Atoi(m[i+1])
	}
	if strings.HasPrefix(m[4], "-rc") && v[2] == 0 { // a candidate comes before its release
		v[1], v[2] = v[1]-1, 999
	}
	return v, nil
}

func checkRunc(ctx context.Context, path string) (runcVersion, error) {
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	if err != nil {
		return runcVersion{}, fmt.Errorf("%s --version: %w: %s", path, err, strings.TrimSpace(string(out)))
	}
	v, err := parseRuncVersion(string(out))
	if err != nil {
		return v, fmt.Errorf("%s: %w", path, err)
	}
	if v.less(oldestRunc) {
		return v, fmt.Errorf("%s is runc %s, which has known escapes; %s or newer is needed (`make build` builds it)", path, v, oldestRunc)
	}
	return v, nil
}
