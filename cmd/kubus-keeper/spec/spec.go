// Package spec is what kubus-keeper is given and what it leaves behind: the
// processes it keeps, and the files in its run directory by which another keeper,
// or the operator's command, finds them.
package spec

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kubus.dev/services/kit/file"
)

// Spec is the keeper's input, a JSON file.
type Spec struct {
	// RunDir holds the keeper's lock and one record a running process.
	RunDir string `json:"runDir"`
	// LogDir gets NAME.log for each process and keeper.log.
	LogDir string `json:"logDir"`
	// Processes are started in this order and stopped in the reverse one.
	Processes []Process `json:"processes"`

	digest []byte // of the file it was read from
}

// Process is one program that shall run until the keeper is told to stop.
type Process struct {
	Name string   `json:"name"`
	Argv []string `json:"argv"`
	Env  []string `json:"env,omitempty"`
	// StopSeconds is how long it may take to end after SIGTERM; 0 means 20.
	StopSeconds int `json:"stopSeconds,omitempty"`
	// Namespaces are files of namespaces that it is started in, such as one of a network.
	Namespaces []string `json:"namespaces,omitempty"`
	// Stamp stands for what else the process reads when it starts: a process whose Stamp
	// or anything above has changed is started anew when the keeper is told of it.
	Stamp string `json:"stamp,omitempty"`
}

// Same tells whether the other is the same program started the same way.
func (p *Process) Same(other *Process) bool {
	return p.Name == other.Name && p.Stamp == other.Stamp && slices.Equal(p.Argv, other.Argv) &&
		slices.Equal(p.Env, other.Env) && slices.Equal(p.Namespaces, other.Namespaces)
}

// StopTimeout is how long the process may take to end after SIGTERM.
func (p *Process) StopTimeout() time.Duration {
	if p.StopSeconds <= 0 {
		return 20 * time.Second
	}
	return time.Duration(p.StopSeconds) * time.Second
}

// Load reads a spec and checks it.
func Load(file string) (*Spec, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the keeper's spec: %w", err)
	}
	s := &Spec{digest: digest(data)}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("reading the keeper's spec %s: %w", file, err)
	}
	if s.RunDir == "" || s.LogDir == "" {
		return nil, fmt.Errorf("the keeper's spec %s names no run or log directory", file)
	}
	seen := map[string]bool{}
	for i, p := range s.Processes {
		if p.Name == "" || strings.ContainsAny(p.Name, "/.") || len(p.Argv) == 0 || seen[p.Name] {
			return nil, fmt.Errorf("the keeper's spec %s: process %d needs a name of its own without '/' and '.', and a command", file, i)
		}
		seen[p.Name] = true
	}
	return s, nil
}

// Record says which process runs under a name.
type Record struct {
	PID int `json:"pid"`
	// Start is the process's start time in clock ticks after boot (proc(5)): a
	// pid together with it names one process for ever.
	Start    uint64    `json:"start"`
	Since    time.Time `json:"since"`
	Restarts int       `json:"restarts"`
}

// Alive tells whether that very process still runs; a zombie does not.
func (r Record) Alive() bool {
	start, alive := StartTime(r.PID)
	return alive && start == r.Start
}

// Signal sends a signal to that very process, and to no other that has its pid now.
func (r Record) Signal(s syscall.Signal) error {
	fd, err := unix.PidfdOpen(r.PID, 0)
	if err != nil {
		return fmt.Errorf("signalling process %d: %w", r.PID, err)
	}
	defer unix.Close(fd)
	if !r.Alive() {
		return fmt.Errorf("signalling process %d: it has ended", r.PID)
	}
	return unix.PidfdSendSignal(fd, s, nil, 0)
}

// RecordFile is where the record of a process is kept.
func RecordFile(runDir, name string) string { return filepath.Join(runDir, name+".json") }

// LockFile is held by the active keeper with flock(2); its record is inside.
func LockFile(runDir string) string { return filepath.Join(runDir, "keeper.lock") }

// Reload is the signal on which the active keeper reads its spec again.
const Reload = syscall.SIGUSR1

// appliedFile says which spec the active keeper follows.
func appliedFile(runDir string) string { return filepath.Join(runDir, "applied") }

// MarkApplied notes that the keeper has stopped what the spec does not name, and begun to
// keep what it names. A spec that was read from no file is not noted.
func (s *Spec) MarkApplied() error {
	if s.digest == nil {
		return nil
	}
	return os.WriteFile(appliedFile(s.RunDir), s.digest, 0o600)
}

// Applied tells whether that was noted of the very spec that is in file now.
func Applied(runDir, file string) bool {
	data, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	noted, err := os.ReadFile(appliedFile(runDir))
	return err == nil && bytes.Equal(noted, digest(data))
}

func digest(data []byte) []byte {
	sum := sha256.Sum256(data)
	return sum[:]
}

// StandbyName is the name under which the standby keeper is recorded.
const StandbyName = "keeper-standby"

// StoppingFile exists while everything is being stopped: a keeper that takes
// over then goes on stopping.
func StoppingFile(runDir string) string { return filepath.Join(runDir, "stopping") }

// ReadRecord reads a record; none is not an error.
func ReadRecord(file string) (*Record, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(data) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := &Record{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// WriteRecord replaces a record at once.
func WriteRecord(path string, r Record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return file.Replace(path, data, 0o600)
}

// Active gives the keeper that holds the lock of runDir; nil when none does.
func Active(runDir string) (*Record, error) {
	f, err := os.OpenFile(LockFile(runDir), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
		return nil, nil // nobody held it; closing gives it back
	}
	return ReadRecord(LockFile(runDir))
}

// StartTime reads a process's start time; alive is false for none and for a zombie.
func StartTime(pid int) (start uint64, alive bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	return parseStat(string(data))
}

func parseStat(stat string) (start uint64, alive bool) {
	// The command stands in parentheses and may hold anything.
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, false
	}
	fields := strings.Fields(stat[end+1:])
	const state, startTime = 0, 19 // fields 3 and 22 of proc(5)
	if len(fields) <= startTime || fields[state] == "Z" || fields[state] == "X" {
		return 0, false
	}
	if _, err := fmt.Sscan(fields[startTime], &start); err != nil {
		return 0, false
	}
	return start, true
}
