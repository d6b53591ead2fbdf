package keep

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"kubus.dev/cmd/kubus-keeper/spec"
)

// Keeper keeps the processes of one spec.
type Keeper struct {
	Spec *spec.Spec
	// File is where the spec is read again on Reload and when a standby takes over.
	File string
	// Reload tells that the spec has changed; nil: it never does.
	Reload <-chan os.Signal
	// Standby is the command that starts a standby keeper; empty for none.
	Standby []string
	Log     *log.Logger
}

// Run waits for the lock, keeps the processes until ctx ends, then stops them all.
// When ctx ends before the lock is there it returns at once and touches nothing.
func (k *Keeper) Run(ctx context.Context) error {
	for _, dir := range []string{k.Spec.RunDir, k.Spec.LogDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("making the keeper's directories: %w", err)
		}
	}
	lock, err := acquire(ctx, spec.LockFile(k.Spec.RunDir))
	if err != nil {
		return err
	}
	if lock == nil {
		return nil
	}
	defer lock.Close()
	k.reread() // it may have changed while another kept it
	if err := recordSelf(lock); err != nil {
		return fmt.Errorf("recording the keeper: %w", err)
	}
	if _, err := os.Stat(spec.StoppingFile(k.Spec.RunDir)); err == nil {
		k.Log.Print("an earlier keeper was stopping everything: going on with that")
		done, cancel := context.WithCancel(ctx)
		cancel()
		ctx = done
	}
	k.Log.Printf("keeping %d processes", len(k.Spec.Processes))
	return k.keep(ctx)
}

func (k *Keeper) keep(ctx context.Context) error {
	standby, stopStandby := context.WithCancel(context.WithoutCancel(ctx))
	defer stopStandby()
	var standbyDone sync.WaitGroup
	if len(k.Standby) > 0 && ctx.Err() == nil {
		k.forgetSelf()
		p := &spec.Process{Name: spec.StandbyName, Argv: k.Standby, StopSeconds: 2}
		standbyDone.Go(func() { k.one(standby, p) })
	}
	var running []*kept
	for i := range k.Spec.Processes {
		running = append(running, k.begin(ctx, &k.Spec.Processes[i]))
	}
	k.markApplied()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-k.Reload:
			if k.reread() {
				running = k.follow(ctx, running)
				k.markApplied()
			}
		}
	}
	k.Log.Print("stopping")
	if err := os.WriteFile(spec.StoppingFile(k.Spec.RunDir), nil, 0o600); err != nil {
		k.Log.Printf("marking the stop: %v", err)
	}
	for _, p := range slices.Backward(running) {
		p.stop()
	}
	// The standby goes last: until here it would have finished the stop for us.
	stopStandby()
	standbyDone.Wait()
	if err := os.Remove(spec.StoppingFile(k.Spec.RunDir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("ending the stop: %w", err)
	}
	k.Log.Print("everything has stopped")
	return os.Remove(spec.LockFile(k.Spec.RunDir))
}

// kept is a process that a goroutine keeps until stop, which waits for its end.
type kept struct {
	process *spec.Process
	stop    func()
}

// begin keeps a process. It has a context of its own, so that processes stop in reverse order.
func (k *Keeper) begin(ctx context.Context, p *spec.Process) *kept {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if ctx.Err() != nil {
		cancel()
	}
	done := make(chan struct{})
	go func() { // ends through its stop, which waits for it
		defer close(done)
		k.one(own, p)
	}()
	return &kept{p, func() {
		cancel()
		<-done
	}}
}

// reread takes the spec from its file; one that cannot be read changes nothing.
func (k *Keeper) reread() bool {
	if k.File == "" {
		return false
	}
	s, err := spec.Load(k.File)
	if err != nil {
		k.Log.Printf("the spec stays as it was: %v", err)
		return false
	}
	k.Spec = s
	return true
}

func (k *Keeper) markApplied() {
	if err := k.Spec.MarkApplied(); err != nil {
		k.Log.Printf("noting that the spec is followed: %v", err)
	}
}

// follow brings what runs in line with the spec: what is no longer in it, or is another
// program now, stops first, the last first; what is new is started.
func (k *Keeper) follow(ctx context.Context, running []*kept) []*kept {
	stays := map[string]*kept{}
	for _, have := range slices.Backward(running) {
		at := slices.IndexFunc(k.Spec.Processes, func(p spec.Process) bool { return p.Same(have.process) })
		if at >= 0 {
			stays[have.process.Name] = have
			continue
		}
		k.Log.Printf("%s: gone from the spec, or changed", have.process.Name)
		have.stop()
	}
	var now []*kept
	for i := range k.Spec.Processes {
		p := &k.Spec.Processes[i]
		have, ok := stays[p.Name]
		if !ok {
			have = k.begin(ctx, p)
		}
		now = append(now, have)
	}
	k.Log.Printf("keeping %d processes", len(now))
	return now
}

// forgetSelf removes the standby's record when that is what we were: the active
// keeper must not take itself for its standby.
func (k *Keeper) forgetSelf() {
	file := spec.RecordFile(k.Spec.RunDir, spec.StandbyName)
	if r, err := spec.ReadRecord(file); err == nil && r != nil && r.PID == os.Getpid() {
		_ = os.Remove(file)
	}
}

// one keeps one process until ctx ends, then stops it.
func (k *Keeper) one(ctx context.Context, p *spec.Process) {
	file := spec.RecordFile(k.Spec.RunDir, p.Name)
	record, err := spec.ReadRecord(file)
	if err != nil {
		k.Log.Printf("%s: %v", p.Name, err)
	}
	restarts := 0
	if record != nil {
		restarts = record.Restarts
	}
	running := adopt(record)
	if running != nil {
		k.Log.Printf("%s: adopted pid %d", p.Name, running.PID)
	}
	var delay time.Duration
	for first := record == nil; ; first = false {
		if running == nil {
			if ctx.Err() != nil {
				break
			}
			if running, err = start(p, k.Spec.LogDir); err != nil {
				k.Log.Print(err)
			} else {
				if !first {
					restarts++
				}
				running.Restarts = restarts
				k.Log.Printf("%s: started, pid %d", p.Name, running.PID)
				if err := spec.WriteRecord(file, running.Record); err != nil {
					k.Log.Printf("%s: recording: %v", p.Name, err)
				}
			}
		}
		var ran time.Duration
		if running != nil {
			since := running.Since
			k.Log.Printf("%s: pid %d %s", p.Name, running.PID, k.await(ctx, p, running))
			ran, running = time.Since(since), nil
		}
		if ctx.Err() != nil {
			break
		}
		delay = nextDelay(delay, ran)
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.Log.Printf("%s: %v", p.Name, err)
	}
}

// await waits for the end of a process; once ctx has ended it asks it to end, and
// kills it when it takes too long.
func (k *Keeper) await(ctx context.Context, p *spec.Process, running *process) string {
	how := make(chan string, 1)
	go func() { how <- running.wait() }() // ends with the process, which we wait for
	select {
	case text := <-how:
		return text
	case <-ctx.Done():
	}
	running.signal(syscall.SIGTERM)
	select {
	case text := <-how:
		return text
	case <-time.After(p.StopTimeout()):
	}
	k.Log.Printf("%s: pid %d did not end within %s, killing it", p.Name, running.PID, p.StopTimeout())
	running.signal(syscall.SIGKILL)
	return <-how
}
