package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var makeCommand = regexp.MustCompile(`\bmake ([a-z][a-z0-9-]*)`)

func TestEveryMakeTargetThatTheREADMENamesExists(t *testing.T) {
	targets := map[string]bool{}
	for _, match := range makeCommand.FindAllStringSubmatch(read(t, "README.md"), -1) {
		targets[match[1]] = true
	}
	if !targets["up"] || !targets["ci"] {
		t.Errorf("the README's two commands are make up and make ci; it names %v", targets)
	}
	for target := range targets {
		cmd := exec.Command("make", "-n", target)
		cmd.Dir = ".."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("make %s: %v\n%s", target, err, out)
		}
	}
}

func TestCIRunsTheCommandThatTheREADMENames(t *testing.T) {
	if !strings.Contains(read(t, ".ci/run"), "make ci") {
		t.Error(".ci/run does not run make ci")
	}
}

var link = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)

func TestLinksInTheDocumentationLeadSomewhere(t *testing.T) {
	files, err := exec.Command("git", "-C", "..", "ls-files", "*.md").Output()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI must run this in a clone: %v", err)
		}
		t.Skip("not a git checkout")
	}
	for _, file := range strings.Fields(string(files)) {
		for _, match := range link.FindAllStringSubmatch(read(t, file), -1) {
			target := filepath.Join("..", filepath.Dir(file), match[1])
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", file, match[1], err)
			}
		}
	}
}
