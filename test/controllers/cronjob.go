package controllers

import "time"

func cronJobs() []*Sequence {
	create := func(spec string) Action {
		return Create("cronjobs", `
apiVersion: batch/v1
kind: CronJob
metadata: {name: cron}
spec:
`+spec+`
  jobTemplate:
    metadata: {labels: {made: by-cron}}
    spec:
      template:
        metadata: {labels: {app: cron}}
        spec: {restartPolicy: Never, nodeSelector: {of: SELF}, containers: [{name: c, image: x}]}
`)
	}
	edit := func(spec string) Action { return Patch("cronjobs", "cron", "spec: {"+spec+"}") }
	jobs := func(n int) func(Objects) bool {
		return func(o Objects) bool {
			have := 0
			for k := range o {
				if k.Resource == "jobs" {
					have++
				}
			}
			return have >= n
		}
	}
	return []*Sequence{
		story("cronjob", "cronnever", do("create", create(`  schedule: "0 0 29 2 *"`)), do("suspend", edit("suspend: true")), do("a zone", edit("timeZone: Europe/Berlin")),
			do("no such zone", edit("timeZone: Nowhere/None")), do("no such schedule", edit(`schedule: "61 * * * *"`)), do("delete", Delete("cronjobs", "cron", ""))),
		story("cronjob", "cronevery", nodes(1), do("create", create(`  schedule: "@every 20s"`)).until(jobs(1)), do("suspend", edit("suspend: true")),
			do("it ends", OnPods("app=cron", 1, Exit(0))), do("no history", edit("successfulJobsHistoryLimit: 0")), do("delete", Delete("cronjobs", "cron", "Foreground"))),
		story("cronjob", "cronfails", nodes(1), do("create", create("  schedule: \"@every 20s\"\n  concurrencyPolicy: Forbid")).until(jobs(1)), do("suspend", edit("suspend: true")),
			do("it is deleted", func(ctx ctx, a *Actor) string {
				objects, _ := a.world.Look(a.scope)
				for _, j := range of(objects, "jobs") {
					return a.send(ctx, "DELETE", a.path("jobs", str(j, "metadata", "name"))+"?propagationPolicy=Background", "", nil)
				}
				return "none"
			})),
		story("cronjob", "cronforbid", nodes(1), do("create", create("  schedule: \"* * * * *\"\n  concurrencyPolicy: Forbid")).until(told("JobAlreadyActive")).patient(time.Minute),
			do("suspend", edit("suspend: true"))),
		story("cronjob", "cronreplace", nodes(1), do("create", create("  schedule: \"* * * * *\"\n  concurrencyPolicy: Replace")).until(told("SuccessfulDelete")).patient(time.Minute),
			do("suspend", edit("suspend: true"))),
		story("cronjob", "cronhistory", nodes(1), do("create", create(`  schedule: "@every 20s"
  failedJobsHistoryLimit: 0`)).until(jobs(1)), do("suspend", edit("suspend: true")), do("it fails", OnPods("app=cron", 1, Exit(1)))),
	}
}

// told tells that an event has a reason.
func told(reason string) func(Objects) bool {
	return func(o Objects) bool {
		for k, e := range o {
			if k.Resource == "events" && str(e, "reason") == reason {
				return true
			}
		}
		return false
	}
}
