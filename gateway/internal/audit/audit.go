package audit

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"go.uber.org/zap"
	"gopkg.in/natefinch/lumberjack.v2"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/plugin/pkg/audit/buffered"
	"k8s.io/apiserver/plugin/pkg/audit/log"

	"kubus.dev/proto/bus"
)

// The log file is set aside when it is this large, as upstream's; so many are kept.
const (
	logMegabytes = 100
	logsKept     = 10
)

// Of the stream: how many events wait in memory, how many go at a time, and how long
// the first of them waits for others.
const (
	waitMost  = 10000
	batchMost = 400
	batchWait = 200 * time.Millisecond
)

// Config is what an operator writes.
type Config struct {
	// PolicyFile is a Policy of audit.k8s.io/v1; empty: nothing is written down.
	PolicyFile string `yaml:"policyFile"`
	// LogFile gets a line an event.
	LogFile string `yaml:"logFile"`
	// Stream says whether events go to the stream AUDIT as well.
	Stream bool `yaml:"stream"`
}

// Validate reports what is wrong at once, with its path.
func (c Config) Validate() (errs []error) {
	if c.PolicyFile == "" {
		if c.LogFile != "" || c.Stream {
			errs = append(errs, fmt.Errorf("audit.policyFile: must be set where audit.logFile or audit.stream is"))
		}
		return errs
	}
	if _, err := policy.LoadPolicyFromFile(c.PolicyFile); err != nil {
		errs = append(errs, fmt.Errorf("audit.policyFile: %w", err))
	}
	if c.LogFile == "" && !c.Stream {
		errs = append(errs, fmt.Errorf("audit.logFile: must be set where a policy is and audit.stream is not"))
	}
	return errs
}

// Options are the surroundings of an audit.
type Options struct {
	Config
	Conn        *bus.Conn // for the stream
	Replicas    int       // of the stream
	LongRunning request.LongRunningRequestCheck
	Logger      *zap.Logger
}

// Audit writes requests down.
type Audit struct {
	policy  audit.PolicyRuleEvaluator
	backend audit.Backend
	long    request.LongRunningRequestCheck
	file    io.Closer // nil without a log file
}

// New opens what events are written to. It is nil without a policy.
func New(ctx context.Context, o Options) (*Audit, error) {
	if o.PolicyFile == "" {
		return nil, nil
	}
	p, err := policy.LoadPolicyFromFile(o.PolicyFile)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	a := &Audit{policy: policy.NewPolicyRuleEvaluator(p), long: o.LongRunning}
	var backends []audit.Backend
	if o.LogFile != "" {
		file := &lumberjack.Logger{Filename: o.LogFile, MaxSize: logMegabytes, MaxBackups: logsKept}
		a.file = file
		backends = append(backends, log.NewBackend(file, log.FormatJson, auditv1.SchemeGroupVersion))
	}
	if o.Stream {
		s, err := newStream(ctx, o.Conn, o.Replicas, o.Logger)
		if err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
		backends = append(backends, buffered.NewBackend(s, buffered.BatchConfig{BufferSize: waitMost, MaxBatchSize: batchMost, MaxBatchWait: batchWait}))
	}
	a.backend = audit.Union(backends...)
	return a, nil
}

// Run sends events on until ctx ends, then the rest. It must run before the first
// request and end after the last.
func (a *Audit) Run(ctx context.Context) error {
	stop := make(chan struct{})
	if err := a.backend.Run(stop); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	<-ctx.Done()
	close(stop)
	a.backend.Shutdown()
	if a.file != nil {
		if err := a.file.Close(); err != nil {
			return fmt.Errorf("audit: %w", err)
		}
	}
	return nil
}

// Handler writes down the requests of known users that next serves.
func (a *Audit) Handler(next http.Handler) http.Handler {
	return filters.WithAudit(withBodies(next), a.backend, a.policy, a.long)
}

// Failed writes down requests that were not authenticated; next answers them.
func (a *Audit) Failed(next http.Handler) http.Handler {
	return filters.WithFailedAuthenticationAudit(next, a.backend, a.policy)
}
