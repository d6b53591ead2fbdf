package keep

import "time"

const (
	firstDelay = 50 * time.Millisecond
	lastDelay  = 10 * time.Second
	settled    = 30 * time.Second
)

// nextDelay gives the wait before the next start of a process that ran for ran
// and was last started after waiting previous.
func nextDelay(previous, ran time.Duration) time.Duration {
	if ran >= settled || previous == 0 {
		return firstDelay
	}
	return min(2*previous, lastDelay)
}
