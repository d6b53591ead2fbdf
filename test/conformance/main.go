// Command conformance turns the JUnit reports of a run of upstream's conformance
// suite into the tables of docs/conformance.md.
//
//	conformance [-write FILE] REPORT…     each a junit file or a folder with some
//
// A test that is in several reports counts as its last one says, so that a rerun
// corrects a run. With -write the text between the markers in FILE is replaced.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
)

func main() {
	write := flag.String("write", "", "the page whose tables are replaced; empty: print them")
	flag.Parse()
	if err := run(*write, flag.Args(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(page string, reports []string, out io.Writer) error {
	results := map[string]result{}
	for _, report := range reports {
		files, err := junitFiles(report)
		if err != nil {
			return err
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if err := read(data, results); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	if len(results) == 0 {
		return fmt.Errorf("no results in %v", reports)
	}
	text := tables(results)
	if page == "" {
		_, err := io.WriteString(out, text)
		return err
	}
	old, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	next, err := replace(string(old), text)
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	return os.WriteFile(page, []byte(next), 0o644)
}

func junitFiles(report string) ([]string, error) {
	info, err := os.Stat(report)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{report}, nil
	}
	files, err := filepath.Glob(filepath.Join(report, "*junit*.xml"))
	if err != nil {
		return nil, err
	}
	sort.Strings(files)
	return files, nil
}
