package layer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// Runner unpacks layers, each in a process of its own.
type Runner struct {
	// Program calls Main when its first argument is Command.
	Program string
}

// maxOutcome bounds what is read of the process's answer: the folders that a layer does not describe.
const maxOutcome = 6 * maxHeld

// Unpack unpacks a blob, compressed or not, into the folder fs of dir, which exists and is empty. diff is the SHA-256 of
// the tar, in hex. An error in reading the blob comes back as it is. On error the folder may hold anything.
func (r Runner) Unpack(ctx context.Context, blob io.Reader, dir, diff string, limits Limits) (*Info, error) {
	arg, err := json.Marshal(order{diff, limits})
	if err != nil {
		return nil, err
	}
	results, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer results.Close()
	source := &reader{from: blob}
	last := &tail{}
	cmd := exec.CommandContext(ctx, r.Program, Command, string(arg))
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stderr, cmd.ExtraFiles = dir, []string{"GOMAXPROCS=2", "GOTRACEBACK=none"}, source, last, []*os.File{theirs}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return nil, fmt.Errorf("starting to unpack: %w", err)
	}
	var answer outcome
	read := json.NewDecoder(io.LimitReader(results, maxOutcome)).Decode(&answer)
	if read != nil || answer.Error != "" {
		_ = cmd.Cancel() // who has failed need not be fed
	}
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case source.err != nil: // the blob's digest was wrong, or the registry went away
		return nil, source.err
	case answer.Full:
		return nil, fmt.Errorf("%w: %s", ErrDiskFull, strings.TrimPrefix(answer.Error, ErrDiskFull.Error()+": "))
	case answer.Error != "":
		return nil, errors.New(answer.Error)
	case read != nil || answer.Info == nil:
		return nil, fmt.Errorf("unpacking was cut off: %w", last.why(err))
	case err != nil:
		return nil, fmt.Errorf("unpacking: %w", err)
	}
	return answer.Info, nil
}

// reader keeps the error with which a blob ended.
type reader struct {
	from io.Reader
	err  error
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// tail keeps the beginning of what a process says when it dies.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p[:min(4096-len(t.text), len(p))]...)
	return len(p), nil
}

// why explains the end of a process that has not answered.
func (t *tail) why(err error) error {
	text := strings.TrimSpace(string(t.text))
	if strings.Contains(text, "out of memory") || strings.Contains(text, "cannot allocate memory") {
		return fmt.Errorf("the layer takes more than %d MiB of memory", maxMemory>>20)
	}
	line, _, _ := strings.Cut(text, "\n")
	return fmt.Errorf("%v %s", err, line)
}
