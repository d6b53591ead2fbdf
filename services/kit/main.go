package kit

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"os/signal"
	"reflect"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
)

// Version is the program's version, set by the linker.
var Version = "v1.37.2+kubus.1"

// Main is a service's main: flags, configuration, logger, health, signals, run,
// exit. cfg holds the defaults and is a pointer to a struct that embeds Common.
// It does not return.
func Main(name string, cfg any, run func(ctx context.Context, p *Process) error) {
	os.Exit(Execute(name, os.Args[1:], cfg, run))
}

// Execute is Main with its arguments and exit code in the open: 0 for a clean
// stop, 1 for a failure, 2 for wrong arguments or configuration.
func Execute(name string, args []string, cfg any, run func(ctx context.Context, p *Process) error) int {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	path := flags.String("config", "", "configuration file (YAML); config.example.yaml shows every key")
	check := flags.Bool("check-config", false, "read the configuration, say what is wrong, and exit")
	version := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if *version {
		fmt.Println(name, Version)
		return 0
	}
	if err := Load(*path, cfg); err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		return 2
	}
	common, err := commonOf(cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		return 2
	}
	if v, ok := cfg.(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			fmt.Fprintf(os.Stderr, "%s: configuration: %v\n", name, err)
			return 2
		}
	}
	logger, err := NewLogger(common.Log)
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		return 2
	}
	if *check {
		fmt.Println("the configuration is good")
		return 0
	}
	logger = logger.With(zap.String("service", name))
	defer func() { _ = logger.Sync() }()
	if err := execute(common, logger, run); err != nil {
		logger.Error("stopped", zap.Error(err))
		return 1
	}
	return 0
}

func execute(common *Common, logger *zap.Logger, run func(ctx context.Context, p *Process) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	registry := NewRegistry()
	p := &Process{Logger: logger, Metrics: registry, Health: NewHealth(), Version: Version}
	if common.Listen != "" {
		shutdown, err := Serve(common.Listen, p.Health, registry)
		if err != nil {
			return err
		}
		defer shutdown()
	}
	logger.Info("starting", zap.String("version", Version))
	go KeepMemory(ctx) // ends with ctx; holds nothing
	if err := run(ctx, p); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	logger.Info("stopped")
	return nil
}

// Serve serves health and metrics on an address until the function it returns is
// called. A taken port is an error that names it.
func Serve(listen string, h *Health, metrics prometheus.Gatherer) (shutdown func(), err error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("serving health: %w", err)
	}
	srv := &http.Server{Handler: Handler(h, metrics), ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l) // ends with ErrServerClosed
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx)
		<-done
	}, nil
}

// ProfilingVar is the environment variable that turns profiles on.
const ProfilingVar = "KUBUS_PROFILING"

// Handler is what Serve serves: health, /metrics and, when ProfilingVar is 1,
// /debug/pprof/. A profile tells more than a stranger should know, and costs.
func Handler(h *Health, metrics prometheus.Gatherer) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("/", h.Handler())
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	if os.Getenv(ProfilingVar) == "1" {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// NewRegistry has what every process tells of itself: memory, goroutines,
// collections, CPU time, open files.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

func commonOf(cfg any) (*Common, error) {
	v := reflect.ValueOf(cfg)
	if v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct {
		if f := v.Elem().FieldByName("Common"); f.IsValid() && f.CanAddr() {
			if c, ok := f.Addr().Interface().(*Common); ok {
				return c, nil
			}
		}
	}
	return nil, fmt.Errorf("%T does not embed kit.Common", cfg)
}
