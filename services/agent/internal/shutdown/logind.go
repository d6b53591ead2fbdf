package shutdown

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/godbus/dbus/v5"
	"go.uber.org/zap"
)

// logind's names. Source: org.freedesktop.login1(5).
const (
	logindName   = "org.freedesktop.login1"
	logindPath   = "/org/freedesktop/login1"
	logindIface  = logindName + ".Manager"
	logindSignal = "PrepareForShutdown"
)

// retryAfter is how long a bus or a logind that went away is let be.
const retryAfter = 30 * time.Second

// Watcher holds up the machine's shutdown by a delay lock of logind, as long as pods take to end.
type Watcher struct {
	Need time.Duration // for all pods
	// Begin ends the pods, and returns when they have ended or their time is over. Its context ends with Run's.
	Begin func(ctx context.Context)
	// Cancelled says that the machine stays up after all.
	Cancelled func()
	Log       *zap.Logger

	connect func(context.Context) (*dbus.Conn, error)
}

// Run follows logind until ctx ends. A machine without it ends without asking: that is told once.
func (w *Watcher) Run(ctx context.Context) error {
	if w.connect == nil {
		w.connect = func(ctx context.Context) (*dbus.Conn, error) { return dbus.ConnectSystemBus(dbus.WithContext(ctx)) }
	}
	for told := false; ; {
		err := w.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if !told {
			w.Log.Warn("the machine's shutdown is not known beforehand, so pods do not end by themselves", zap.Error(err))
			told = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryAfter):
		}
	}
}

func (w *Watcher) follow(ctx context.Context) error {
	conn, err := w.connect(ctx)
	if err != nil {
		return fmt.Errorf("reaching the system's bus: %w", err)
	}
	defer conn.Close()
	logind := conn.Object(logindName, logindPath)
	if err := conn.AddMatchSignalContext(ctx, dbus.WithMatchInterface(logindIface), dbus.WithMatchMember(logindSignal), dbus.WithMatchObjectPath(logindPath)); err != nil {
		return fmt.Errorf("following logind: %w", err)
	}
	signals := make(chan *dbus.Signal, 8) // more are dropped: the last state comes again with the next shutdown
	conn.Signal(signals)
	w.checkDelay(logind)
	lock, err := inhibit(ctx, logind)
	if err != nil {
		return err
	}
	defer func() { lock.Close() }()
	w.Log.Info("the machine's shutdown waits for pods", zap.Duration("duration", w.Need))
	for {
		var signal *dbus.Signal
		select {
		case <-ctx.Done():
			return ctx.Err()
		case s, ok := <-signals:
			if !ok {
				return errors.New("the system's bus is gone")
			}
			signal = s
		}
		begins, ok := false, len(signal.Body) == 1
		if ok {
			begins, ok = signal.Body[0].(bool)
		}
		switch {
		case !ok || signal.Name != logindIface+"."+logindSignal:
		case begins:
			w.Log.Info("the machine shuts down")
			w.Begin(ctx)
			lock.Close() // and it may
		default:
			w.Log.Info("the machine does not shut down after all")
			w.Cancelled()
			lock.Close()
			if lock, err = inhibit(ctx, logind); err != nil {
				return err
			}
		}
	}
}

// checkDelay tells when logind waits less than pods may take.
func (w *Watcher) checkDelay(logind dbus.BusObject) {
	v, err := logind.GetProperty(logindIface + ".InhibitDelayMaxUSec")
	if err != nil {
		w.Log.Warn("how long logind waits is not known", zap.Error(err))
		return
	}
	if micros, ok := v.Value().(uint64); ok && time.Duration(micros)*time.Microsecond < w.Need {
		w.Log.Warn("logind waits less than pods may take: see InhibitDelayMaxSec in logind.conf", zap.Duration("limit", time.Duration(micros)*time.Microsecond), zap.Duration("duration", w.Need))
	}
}

// inhibit takes the lock; closing the file gives it back.
func inhibit(ctx context.Context, logind dbus.BusObject) (*os.File, error) {
	var fd dbus.UnixFD
	call := logind.CallWithContext(ctx, logindIface+".Inhibit", 0, "shutdown", "kubelet", "Kubelet needs time to handle node shutdown", "delay")
	if err := call.Store(&fd); err != nil {
		return nil, fmt.Errorf("holding up the machine's shutdown: %w", err)
	}
	return os.NewFile(uintptr(fd), "inhibitor"), nil
}
