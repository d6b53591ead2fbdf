package controllers

import "context"

type ctx = context.Context

// work is a Job of n pods at a time, with more of a spec and of its pods' annotations.
func work(spec, play string) Action {
	return Create("jobs", `
apiVersion: batch/v1
kind: Job
metadata: {name: work}
spec:
`+spec+`
  template:
    metadata: {annotations: {play: "`+play+`"}}
    spec: {restartPolicy: Never, nodeSelector: {of: SELF}, containers: [{name: c, image: work}]}
`)
}

// jobLabel is what a Job's pods have.
const jobLabel = "job-name=work"

func jobs() []*Sequence {
	complete := condition("jobs", "work", "Complete", "True")
	failed := condition("jobs", "work", "Failed", "True")
	edit := func(spec string) Action { return Patch("jobs", "work", "spec: {"+spec+"}") }
	return []*Sequence{
		story("job", "jobplain", nodes(1), do("create", work("  completions: 3\n  parallelism: 2", "succeed")).until(complete), do("delete", Delete("jobs", "work", ""))),
		story("job", "jobsteps", nodes(2), do("create", work("  completions: 4\n  parallelism: 2", "run")),
			do("one ends", OnPods(jobLabel, 1, Exit(0))), do("more at a time", edit("parallelism: 3")), do("fewer", edit("parallelism: 1")),
			do("one is deleted", OnPods(jobLabel, 1, Remove)).until(func(o Objects) bool { return num(o.Get("jobs", "work"), "status", "ready") == 1 }), do("two end", OnPods(jobLabel, 2, Exit(0))), do("one more", OnPods(jobLabel, 1, Exit(0))),
			do("another", OnPods(jobLabel, 1, Exit(0))), do("the last", OnPods(jobLabel, 1, Exit(0))).until(complete), do("delete in the foreground", Delete("jobs", "work", "Foreground"))),
		story("job", "jobfail", nodes(1), do("create", work("  backoffLimit: 0", "fail")).until(failed)),
		story("job", "jobbackoff", nodes(1), do("create", work("  backoffLimit: 1", "fail:3")).until(failed)),
		story("job", "jobindexed", nodes(2), do("create", work("  completions: 4\n  parallelism: 3\n  completionMode: Indexed", "run")),
			do("one ends", OnPods(jobLabel, 1, Exit(0))), do("two end", OnPods(jobLabel, 2, Exit(0))),
			do("all end", OnPods(jobLabel, 4, Exit(0))).until(complete)),
		story("job", "jobfewer", nodes(1), do("create", work("  completions: 4\n  parallelism: 3\n  completionMode: Indexed", "run")), do("fewer at a time", edit("parallelism: 1"))),
		story("job", "jobperindex", nodes(1), do("create", work("  completions: 3\n  parallelism: 3\n  completionMode: Indexed\n  backoffLimitPerIndex: 0\n  maxFailedIndexes: 2", "run")),
			do("one fails", OnPods(jobLabel, 1, Exit(1))), do("the others end", OnPods(jobLabel, 2, Exit(0))).until(failed)),
		story("job", "jobmaxfailed", nodes(1), do("create", work("  completions: 5\n  parallelism: 5\n  completionMode: Indexed\n  backoffLimitPerIndex: 0\n  maxFailedIndexes: 1", "run")),
			do("two fail", OnPods(jobLabel, 2, Exit(1))).until(failed)),
		story("job", "jobpolicy", nodes(1), do("create", work(`  completions: 4
  parallelism: 2
  backoffLimit: 6
  podFailurePolicy:
    rules:
    - {action: Ignore, onExitCodes: {operator: In, values: [40]}}
    - {action: Count, onExitCodes: {operator: In, values: [41]}}
    - {action: FailJob, onExitCodes: {operator: In, values: [42]}}`, "run")),
			do("ignored", OnPods(jobLabel, 1, Exit(40))), do("fatal", OnPods(jobLabel, 1, Exit(42))).until(failed)),
		story("job", "jobpolicyindex", nodes(1), do("create", work(`  completions: 3
  parallelism: 3
  completionMode: Indexed
  backoffLimitPerIndex: 3
  podFailurePolicy:
    rules:
    - {action: FailIndex, onExitCodes: {operator: In, values: [42]}}`, "run")),
			do("an index fails", OnPods(jobLabel, 1, Exit(42))), do("the others end", OnPods(jobLabel, 2, Exit(0))).until(failed)),
		story("job", "jobsuccess", nodes(1), do("create", work(`  completions: 4
  parallelism: 4
  completionMode: Indexed
  successPolicy: {rules: [{succeededIndexes: "0,1", succeededCount: 1}]}`, "run")),
			do("the leader ends", OnPods(jobLabel, 1, Exit(0))).until(complete)),
		story("job", "jobsuspend", nodes(1), do("create", work("  suspend: true\n  parallelism: 2\n  completions: 2", "run")),
			do("resume", edit("suspend: false")), do("suspend", edit("suspend: true")), do("resume again", edit("suspend: false")),
			do("all end", OnPods(jobLabel, 2, Exit(0))).until(complete)),
		story("job", "jobdeadline", nodes(1), do("create", work("  activeDeadlineSeconds: 3\n  parallelism: 2", "run")).until(failed)),
		story("job", "jobttl", nodes(1), do("create", work("  ttlSecondsAfterFinished: 2", "succeed")).until(gone("jobs", "work"))),
		story("job", "jobreplace", nodes(1), do("create", work("  podReplacementPolicy: Failed\n  parallelism: 2\n  completions: 2", "stuck")),
			do("a pod is stuck in deletion", OnPods(jobLabel, 1, Remove))),
		story("job", "joborphan", nodes(1), do("create", work("  parallelism: 2\n  completions: 2", "run")),
			do("orphan", Delete("jobs", "work", "Orphan"))),
		story("job", "jobzero", do("no pods wanted", work("  parallelism: 0", "run")), do("one", edit("parallelism: 1"))),
		story("job", "jobmanaged", do("by another", work("  managedBy: example.com/other", "run")), do("delete", Delete("jobs", "work", ""))),
		story("job", "jobnone", do("no completions", work("  completions: 0", "run")).until(complete)),
	}
}
