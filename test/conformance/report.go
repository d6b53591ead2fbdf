package main

import (
	"encoding/xml"
	"fmt"
	"regexp"
	"strings"
)

// result is how one test ended.
type result struct {
	passed bool
	why    string // first line of the failure
}

type suites struct {
	Cases []testCase `xml:"testsuite>testcase"`
}

type testCase struct {
	Name    string   `xml:"name,attr"`
	Failure *message `xml:"failure"`
	Error   *message `xml:"error"`
	Skipped *message `xml:"skipped"`
}

type message struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// read adds the results of one report. Tests that were not selected do not count;
// nor do the suite's own set-up steps unless they failed.
func read(data []byte, results map[string]result) error {
	var report suites
	if err := xml.Unmarshal(data, &report); err != nil {
		return err
	}
	for _, c := range report.Cases {
		failure := c.Failure
		if failure == nil {
			failure = c.Error
		}
		name, isTest := strings.CutPrefix(c.Name, "[It] ")
		switch {
		case !isTest && failure == nil, c.Skipped != nil:
		case failure != nil:
			results[name] = result{why: firstLine(failure)}
		default:
			results[name] = result{passed: true}
		}
	}
	return nil
}

var changing = regexp.MustCompile(`[a-z0-9-]*-[0-9]{2,}[a-z0-9-]*|[0-9a-f]{8}-[0-9a-f-]{27,}`)

// firstLine is what a failure says, without what differs from run to run.
func firstLine(m *message) string {
	text := strings.TrimSpace(m.Message)
	if text == "" {
		text = strings.TrimSpace(m.Text)
	}
	line, _, _ := strings.Cut(strings.TrimPrefix(text, "[FAILED] "), "\n")
	line = changing.ReplaceAllString(strings.TrimSpace(line), "…")
	if len(line) > 110 {
		line = line[:110] + "…"
	}
	return line
}

var (
	sig     = regexp.MustCompile(`^\[(sig-[a-z-]+)\]\s*`)
	bracket = regexp.MustCompile(`\s*\[[^\]]*\]`)
)

// area is the special interest group that owns a test.
func area(name string) string {
	if m := sig.FindStringSubmatch(name); m != nil {
		return m[1]
	}
	return "suite"
}

// subject is what a test is about: the first words of its name, at most three and
// none of the sentence that it states.
func subject(name string) string {
	words := strings.Fields(bracket.ReplaceAllString(sig.ReplaceAllString(name, ""), ""))
	for i, word := range words {
		if word == "should" || i == 3 {
			words = words[:i]
			break
		}
	}
	return strings.Join(words, " ")
}

const (
	begin = "<!-- results: begin -->"
	end   = "<!-- results: end -->"
)

// replace puts text between the markers of a page.
func replace(page, text string) (string, error) {
	i, j := strings.Index(page, begin), strings.Index(page, end)
	if i < 0 || j < i {
		return "", fmt.Errorf("no markers %q and %q", begin, end)
	}
	return page[:i+len(begin)] + "\n" + text + page[j:], nil
}
