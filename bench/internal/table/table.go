// Package table puts the results of several runs side by side.
package table

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"kubus.dev/bench/internal/measure"
)

// Line is one result as it is kept in a file.
type Line struct {
	Server string `json:"server"`
	Figure string `json:"figure"`
	What   string `json:"what"`
	Unit   string `json:"unit"`
	Less   bool   `json:"less,omitempty"`
	measure.Result
}

// Print writes a Markdown table of the results in the files: a row a figure, a
// column a server in the order of appearance, each cell the median of its runs and
// their range, and how many times better than the first server's the last one's is.
func Print(w io.Writer, files []string) error {
	lines, err := readAll(files)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, Format(lines))
	return err
}

func readAll(files []string) (lines []Line, err error) {
	for _, file := range files {
		more, err := read(file)
		if err != nil {
			return nil, err
		}
		lines = append(lines, more...)
	}
	return lines, nil
}

func read(file string) ([]Line, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var lines []Line
	s := bufio.NewScanner(f)
	for s.Scan() {
		var l Line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		lines = append(lines, l)
	}
	return lines, s.Err()
}

// Format is the table of Print.
func Format(lines []Line) string {
	var servers, figures []string
	what, less := map[string]string{}, map[string]bool{}
	values := map[[2]string][]float64{}
	for _, l := range lines {
		if !slices.Contains(servers, l.Server) {
			servers = append(servers, l.Server)
		}
		if !slices.Contains(figures, l.Figure) {
			figures = append(figures, l.Figure)
		}
		what[l.Figure], less[l.Figure] = l.What+", "+l.Unit, l.Less
		k := [2]string{l.Figure, l.Server}
		values[k] = append(values[k], l.Value)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| | %s |", strings.Join(servers, " | "))
	ratio := len(servers) > 1
	if ratio {
		b.WriteString(" ratio |")
	}
	fmt.Fprintf(&b, "\n|---|%s\n", strings.Repeat("--:|", len(servers)+btoi(ratio)))
	for _, f := range figures {
		fmt.Fprintf(&b, "| %s |", what[f])
		for _, s := range servers {
			b.WriteString(" " + cell(values[[2]string{f, s}]) + " |")
		}
		if ratio {
			first, last := median(values[[2]string{f, servers[0]}]), median(values[[2]string{f, servers[len(servers)-1]}])
			if less[f] {
				first, last = last, first
			}
			if first > 0 && last > 0 {
				fmt.Fprintf(&b, " %.1fx |", last/first)
			} else {
				b.WriteString(" - |")
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func cell(v []float64) string {
	switch len(v) {
	case 0:
		return "-"
	case 1:
		return number(v[0])
	}
	return fmt.Sprintf("%s (%s-%s)", number(median(v)), number(slices.Min(v)), number(slices.Max(v)))
}

func number(v float64) string {
	if v < 100 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}
