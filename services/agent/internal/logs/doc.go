// Package logs reads the log files that shims write, in the format of the CRI:
// "<RFC 3339 time> <stdout|stderr> <F|P> <text>", P for a piece of a longer line.
//
// Start with Read. Following waits for the kernel to say that the file grew or
// was rotated (inotify); nothing polls.
package logs
