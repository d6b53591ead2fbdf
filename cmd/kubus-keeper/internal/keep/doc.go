// Package keep keeps processes running.
//
// A Keeper starts what its spec names, waits for each by pidfd, and starts it
// again with a growing delay. Processes have sessions of their own and write
// straight to their log files, so nothing of them depends on the keeper's life.
// Two keepers run: the active one holds a file lock, the standby waits for it in
// the kernel. When the active one dies the standby takes the lock, adopts every
// process that still runs by its record, and starts a standby of its own. Hence
// any one process, either keeper included, may be killed at any time.
//
//	starting -> running -(exit)-> waiting -(delay)-> starting
//	any -(stop)-> stopping -(exit, or SIGKILL after the time-out)-> gone
package keep
