package proto

// Subjects of the scheduler's roles, when these are processes of their own: core
// request and reply, JSON (services/scheduler/internal/plan), never stored.
// Workers ask the broker for work and answer it, and submit plans to the planner.
// A broker or planner that begins to serve says so on the ready subject, so that
// workers stop waiting for one that has died.
func SchedulerTakeSubject() string  { return "scheduler.broker.take" }
func SchedulerDoneSubject() string  { return "scheduler.broker.done" }
func SchedulerPlanSubject() string  { return "scheduler.planner.plan" }
func SchedulerReadySubject() string { return "scheduler.ready" }
