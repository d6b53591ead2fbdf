package main

import (
	"net/http"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// burn takes so many thousandths of a CPU's time, however busy the machine is, for as long.
func burn(millicores int64, lasts time.Duration) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began, base := time.Now(), threadTime()
	for time.Since(began) < lasts {
		if behind := time.Since(began)*time.Duration(millicores)/1000 - (threadTime() - base); behind <= 0 {
			time.Sleep(5 * time.Millisecond)
		} else {
			for spin := time.Now(); time.Since(spin) < min(behind, time.Millisecond); {
			}
		}
	}
}

// threadTime is the CPU time that this thread has had.
func threadTime() time.Duration {
	const thisThread = 1 // RUSAGE_THREAD
	var used syscall.Rusage
	if syscall.Getrusage(thisThread, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// consume is asked as upstream's resource-consumer is.
func consume(w http.ResponseWriter, r *http.Request) {
	millicores, wrong := strconv.ParseInt(r.FormValue("millicores"), 10, 64)
	seconds, bad := strconv.ParseInt(r.FormValue("durationSec"), 10, 64)
	if wrong != nil || bad != nil || millicores < 0 || seconds < 0 {
		http.Error(w, "millicores and durationSec are numbers", http.StatusBadRequest)
		return
	}
	go burn(millicores, time.Duration(seconds)*time.Second) // ends by itself
}
