package cronjob

import (
	"errors"
	"fmt"
	"strings"
	"time"

	// A host without a zone database would refuse every spec.timeZone.
	_ "time/tzdata"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
)

const (
	// late is added to each wait, so that a clock that lags a little does not wake
	// the controller before the time has come.
	late = 100 * time.Millisecond
	// manyMissed starts are worth a warning.
	manyMissed = 100
)

// parse reads spec.schedule. The library panics at some malformed zones.
func parse(c *batchv1.CronJob) (schedule cron.Schedule, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("invalid schedule format: %v", r)
		}
	}()
	text := c.Spec.Schedule
	if !namesZone(c) && c.Spec.TimeZone != nil {
		if _, err := time.LoadLocation(*c.Spec.TimeZone); err == nil {
			text = "TZ=" + *c.Spec.TimeZone + " " + text
		}
	}
	return cron.ParseStandard(text)
}

// namesZone is true of a schedule with a zone in it, which is not officially supported.
func namesZone(c *batchv1.CronJob) bool { return strings.Contains(c.Spec.Schedule, "TZ") }

// starts are the times at which a job should have begun since the last one did.
type starts struct {
	since  time.Time  // the last start, or the creation, or the starting deadline
	latest *time.Time // nil when there was none
	missed int64      // roughly how many there were, when more than one
}

// startsUntil finds the latest start up to now. With deadline, those that
// startingDeadlineSeconds rules out do not count.
func startsUntil(c *batchv1.CronJob, now time.Time, schedule cron.Schedule, deadline bool) (starts, error) {
	s := starts{since: c.CreationTimestamp.Time}
	if c.Status.LastScheduleTime != nil {
		s.since = c.Status.LastScheduleTime.Time
	}
	if deadline && c.Spec.StartingDeadlineSeconds != nil {
		if earliest := now.Add(-time.Duration(*c.Spec.StartingDeadlineSeconds) * time.Second); earliest.After(s.since) {
			s.since = earliest
		}
	}
	first := schedule.Next(s.since)
	second := schedule.Next(first)
	switch {
	case now.Before(first):
		return s, nil
	case now.Before(second):
		s.latest = &first
		return s, nil
	}
	// A schedule such as "59 23 31 2 *" never comes: Next then gives the zero time.
	period := int64(second.Sub(first).Round(time.Second).Seconds())
	if period < 1 {
		return s, errors.New("time difference between two schedules is less than 1 second")
	}
	// Counting every start of years would take long, so their number is estimated from
	// the first two, and only from shortly before now on they are looked at one by one.
	// Stepping by whole periods keeps "@every" in its rhythm.
	s.missed = int64(now.Sub(first).Seconds())/period + 1
	from := first.Add(time.Duration((s.missed-2)*period) * time.Second)
	for t := schedule.Next(from); !t.After(now); t = schedule.Next(t) {
		s.latest = &t
	}
	return s, nil
}

// untilNext is how long it is to the next start.
func untilNext(c *batchv1.CronJob, now time.Time, schedule cron.Schedule) time.Duration {
	s, err := startsUntil(c, now, schedule, false)
	from := now
	switch {
	case err != nil:
	case s.latest != nil:
		from = *s.latest
	case s.missed == 0:
		from = s.since
	}
	return schedule.Next(from).Add(late).Sub(now)
}
