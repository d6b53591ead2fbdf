// Package agent runs a node's pods: what kubelet, a container runtime and the
// CRI between them do elsewhere. README.md has the picture.
//
// Start with Config and Run. Purge takes everything of an agent off the machine.
package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/cluster"
	"kubus.dev/proto/tunnel"
	"kubus.dev/services/agent/internal/control"
	"kubus.dev/services/agent/internal/device"
	"kubus.dev/services/agent/internal/eviction"
	"kubus.dev/services/agent/internal/folder"
	"kubus.dev/services/agent/internal/imagegc"
	"kubus.dev/services/agent/internal/launch"
	"kubus.dev/services/agent/internal/memory"
	"kubus.dev/services/agent/internal/node"
	"kubus.dev/services/agent/internal/pod"
	"kubus.dev/services/agent/internal/probe"
	"kubus.dev/services/agent/internal/registry"
	"kubus.dev/services/agent/internal/report"
	"kubus.dev/services/agent/internal/runtime"
	"kubus.dev/services/agent/internal/self"
	"kubus.dev/services/agent/internal/source"
	"kubus.dev/services/agent/internal/static"
	"kubus.dev/services/agent/internal/streams"
	"kubus.dev/services/agent/internal/usage"
	"kubus.dev/services/agent/internal/volume"
	"kubus.dev/services/kit"
)

// Run is the agent until ctx ends. What runs on the node goes on without it, and
// the next Run finds it again.
func Run(ctx context.Context, cfg Config, p *kit.Process, c *cluster.Client) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	log := p.Logger.With(zap.String("node", cfg.Node))
	for _, dir := range []string{cfg.DataDir, filepath.Join(cfg.DataDir, "agent"), cfg.LogDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("making the agent's folders: %w", err)
		}
	}
	if err := runtime.Protect(); err != nil {
		return err
	}
	rt, err := runtime.New(ctx, cfg.runtime(log))
	if err != nil {
		return fmt.Errorf("starting the runtime: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a, err := assemble(ctx, cfg, p, c, rt, log)
	if err == nil {
		err = a.run(ctx, cancel)
	}
	if closing := rt.Close(); err == nil {
		err = closing
	}
	return err
}

// Purge removes every trace of the agent from the machine: containers, shims,
// mounts, cgroups, network, files. The agent must not be running. It may be
// called again.
func Purge(ctx context.Context, cfg Config, log *zap.Logger) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	err := runtime.Purge(ctx, cfg.runtime(log))
	for _, dir := range []string{cfg.DevicePluginDir, cfg.PodResourcesDir} {
		if err == nil && dir != "" {
			err = device.Clear(dir)
		}
	}
	return err
}

func (c *Config) runtime(log *zap.Logger) runtime.Options {
	return runtime.Options{
		DataDir: c.DataDir, RunDir: c.RunDir, Instance: c.Instance, Runc: c.Runc, Shim: c.Shim, Handlers: c.handlers(),
		ClusterCIDR: c.PodCIDR, MTU: c.MTU, Overhead: c.Overhead, LogMaxSize: c.LogMaxSize, LogMaxFiles: c.LogMaxFiles,
		Insecure: c.InsecureRegistries, Registries: registry.Settings{File: c.RegistriesFile, Dir: c.RegistriesDir}, ImageMinFree: c.imageMinFree(), Logger: log,
	}
}

// agent is the parts, wired.
type agent struct {
	cfg          Config
	log          *zap.Logger
	cluster      *cluster.Client
	api          *apiclient.Client
	runtime      runtime.Runtime
	store        *source.Store
	objects      *source.Objects
	certificates *source.Certificates
	services     *source.Services
	probes       *probe.Manager
	pods         *pod.Manager
	reports      *report.Pods
	events       *report.Events
	node         *node.Reporter
	images       *imagegc.Collector
	evictions    *eviction.Manager
	static       *static.Source
	streams      *streams.Server
	control      *control.Server
	usage        *usage.Sampler
	folders      *folder.Store
	ownCPUs      bool            // containers may have some
	devices      *device.Manager // nil: no plugins are served
	synced       atomic.Bool
}

func assemble(ctx context.Context, cfg Config, p *kit.Process, c *cluster.Client, rt *runtime.Node, log *zap.Logger) (*agent, error) {
	a := &agent{cfg: cfg, log: log, cluster: c, api: c.API.As(proto.NodeUser(cfg.Node)).Reporting(retried(log)), runtime: rt}
	var err error
	if a.store, err = source.OpenStore(filepath.Join(cfg.DataDir, "agent")); err != nil {
		return nil, err
	}
	if !cfg.KeepSecrets {
		if err := a.store.WithoutSecrets(); err != nil {
			return nil, err
		}
	}
	if err := memory.Mount(cfg.memoryDir()); err != nil {
		return nil, err
	}
	if a.folders, err = folder.Open(filepath.Join(cfg.DataDir, "agent", "volumes")); err != nil {
		return nil, err
	}
	machine, err := node.ReadMachine(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	settings, err := cfg.settings(rt, p.Version)
	if err != nil {
		return nil, err
	}
	a.reports = report.NewPods(cfg.Node, c.Bus, log)
	a.events = report.NewEvents(cfg.Node, a.api, log)
	a.static = static.New()
	a.static.Out, a.static.API, a.static.Events, a.static.Log = a.reports, a.api, a.events, log
	if cfg.StaticPodPath != "" {
		a.static.Folder = &static.Folder{Dir: cfg.StaticPodPath, Node: cfg.Node}
	}
	a.node = node.NewReporter(settings, machine, cfg.DataDir, instanceID(), rt, a.reports, c.Bus, log)
	allocatable := a.node.Allocatable()
	if err := rt.LimitPods(allocatable.Memory().Value(), machine.PIDs/10*9); err != nil {
		log.Warn("pods may take what the node itself needs", zap.Error(err)) // they hold more than the limit already
	}
	a.images = imagegc.New(cfg.imageGC())
	a.images.Images, a.images.Removed, a.images.Events, a.images.Log = rt, a.node.Refresh, a.events, log
	a.images.Named = func() []string { return a.pods.Images() }
	if cfg.DevicePluginDir != "" {
		a.devices, err = device.Open(device.Options{
			Dir: cfg.DevicePluginDir, File: filepath.Join(cfg.DataDir, "agent", "devices.json"), Log: log,
			Changed: a.node.Refresh, PodDir: cfg.PodResourcesDir, Pods: func() []*corev1.Pod { return a.pods.Unfinished() },
		})
		if err != nil {
			return nil, err
		}
		a.node.Devices = a.devices.Capacity
	}
	cpuManager, err := cfg.cpuManager(func() []*corev1.Pod { return a.pods.Unfinished() })
	if err != nil {
		return nil, err
	}
	a.objects = source.NewObjects(ctx, a.api, a.store, log, func(pods []types.UID) { a.pods.ObjectsChanged(pods) })
	a.services = source.NewServices(a.store, log)
	tokens := source.NewTokens(a.api, a.store, log)
	a.certificates = source.NewCertificates(ctx, a.api, cfg.Node, log, func(pods []types.UID) { a.pods.ObjectsChanged(pods) })
	runner := probe.NewRunner(rt)
	a.probes = probe.New(runner, probeEvents(a.events), func(uid types.UID) { a.pods.ProbeChanged(uid) })
	volumes := &volume.Manager{PodDir: a.store.PodDir, MemoryDir: cfg.podMemory, Objects: a.objects, Tokens: tokens, Bundles: a.objects.Bundles, Certificates: a.certificates, Allocatable: a.node.Allocatable,
		Claims: source.NewClaims(a.api), Labels: func() map[string]string { return a.node.Object().Labels }}
	deps := pod.Deps{
		Runtime: rt, Store: a.store, Objects: a.objects, Volumes: volumes, Forget: func(uid types.UID) { tokens.Forget(uid); a.certificates.Forget(uid) }, Pulled: a.node.Refresh, PullEnded: a.images.Look,
		Classes:     source.NewClasses(a.api, a.store),
		Environment: &launch.Environment{Objects: a.objects, Services: a.services, Allocatable: a.node.Allocatable()},
		Probes:      a.probes, Runner: runner, Reports: a.static, Events: a.events, Log: log, Over: a.static.Ended,
		Node: pod.Node{
			Name: cfg.Node, IPs: func() []string { return settings.IPs }, Object: a.node.Object,
			Reread:         func(ctx context.Context) { a.node.Reread(ctx, a.api) },
			MemoryCapacity: machine.MemoryBytes,
			DNS:            launch.ClusterDNS{Servers: cfg.ClusterDNS, Domain: cfg.ClusterDomain},
			ResolvConf:     cfg.ResolvConf, LogDir: cfg.LogDir, SeccompDir: cfg.SeccompDir, PodPids: cfg.PodPids,
			NoRecursive: withoutRecursive(rt.Handlers()), UnsafeSysctls: cfg.AllowedUnsafeSysctls, Pressure: func() []corev1.NodeConditionType { return a.evictions.Conditions() },
		},
	}
	if a.devices != nil {
		deps.Devices = a.devices
	}
	if cpuManager != nil {
		deps.CPUs, a.ownCPUs = cpuManager, true
	}
	a.pods = pod.NewManager(ctx, deps)
	a.static.Pods, a.static.NodeUID = a.pods, a.node.UID
	a.usage = usage.New(cfg.Node, rt, c.Bus, log)
	a.evictions = &eviction.Manager{
		Thresholds: settings.Evictions, Transition: cfg.EvictionPressureTransitionPeriod.Std(), MaxGrace: cfg.EvictionMaxPodGracePeriod,
		Look:  func() eviction.Observations { return node.Supplies(cfg.DataDir) },
		Usage: a.measure(rt), Pods: a.pods, FreeImages: func(ctx context.Context) error { return a.images.Empty(ctx, time.Now()) },
		Tell: a.node.SetPressure, Events: a.events, Log: log,
	}
	a.evictions.Observe(time.Now())
	a.streams = streams.New(found{a.pods, a.static}, rt, self.New(self.Node{
		Name: cfg.Node, Version: p.Version, Config: cfg.configuration(), Sandboxes: rt.Sandboxes, Containers: rt.Containers, Probes: a.probes,
		Usage: func(path string) ([]byte, error) {
			return a.usage.Endpoint(path, cfg.DataDir, usage.Machine{CPUs: int64(machine.CPUs), Memory: machine.MemoryBytes})
		},
	}).Tell, log)
	a.control = &control.Server{Images: rt, Changed: a.node.Refresh}
	a.cfg.RunDir = rt.RunDir()
	p.Health.Ready("node", a.ready)
	return a, nil
}

func (c *Config) settings(rt *runtime.Node, version string) (node.Settings, error) {
	reserved, err := c.reserved()
	if err != nil {
		return node.Settings{}, err
	}
	thresholds, err := c.thresholds()
	if err != nil {
		return node.Settings{}, err
	}
	name, v := rt.Version()
	return node.Settings{
		Name: c.Node, IPs: []string{c.NodeIP}, Labels: c.Labels, MaxPods: c.MaxPods, Reserved: reserved, Evictions: thresholds,
		Version: version, Runtime: "kubus+" + name + "://" + v, Handlers: rt.Handlers(),
	}, nil
}

func withoutRecursive(handlers []runtime.Handler) (names []string) {
	for _, h := range handlers {
		if !h.RecursiveReadOnly {
			names = append(names, h.Name)
		}
	}
	return names
}

// memoryDir holds what is secret of the pods' volumes; it is never on the disk.
func (c *Config) memoryDir() string { return filepath.Join(c.DataDir, "agent", "memory") }

func (c *Config) podMemory(uid types.UID) string { return filepath.Join(c.memoryDir(), string(uid)) }

func (c *Config) imageGC() imagegc.Policy {
	return imagegc.Policy{
		High: c.ImageGCHighThresholdPercent, Low: c.ImageGCLowThresholdPercent,
		MinAge: c.ImageMinimumGCAge.Std(), MaxAge: c.ImageMaximumGCAge.Std(),
	}
}

// ready: the pods of the node are known.
func (a *agent) ready() error {
	if !a.synced.Load() {
		return fmt.Errorf("the node's pods are not known yet")
	}
	return nil
}

// run starts every part and waits for all of them.
func (a *agent) run(ctx context.Context, cancel context.CancelFunc) error {
	g, ctx := errgroup.WithContext(ctx)
	defer a.pods.Wait()
	defer a.objects.Wait()
	defer a.certificates.Wait()
	defer cancel() // of what assemble was given, before the waits above
	a.node.Resume(ctx, a.runtime)
	if err := a.adopt(); err != nil {
		return err
	}
	sub, err := tunnel.PeerAs(proto.NodeUser(a.cfg.Node)).Serve(ctx, a.cluster.Bus, proto.NodeTunnelSubject(a.cfg.Node), "", a.streams.Handle)
	if err != nil {
		return fmt.Errorf("serving streams: %w", err)
	}
	defer sub.Stop()
	a.cluster.Bus.OnReconnect(func() {
		a.reports.Resend()
		a.node.Beat()
	})
	hello, err := a.node.Greet(a.cluster.Bus)
	if err != nil {
		return err
	}
	defer hello.Stop()
	asked, err := a.cluster.Bus.Subscribe(proto.UsageSampleSubject, "", func(*bus.Msg) { a.usage.Ask() })
	if err != nil {
		return fmt.Errorf("listening for the metrics service: %w", err)
	}
	defer asked.Stop()
	g.Go(func() error { return a.reports.Run(ctx) })
	g.Go(func() error { return a.events.Run(ctx) })
	g.Go(func() error { return a.probes.Run(ctx) })
	g.Go(func() error { return a.pods.Run(ctx) })
	g.Go(func() error { return a.node.Run(ctx) })
	g.Go(func() error { return a.static.Run(ctx) })
	g.Go(func() error { return a.images.Run(ctx) })
	g.Go(func() error { return a.evictions.Run(ctx) })
	g.Go(func() error { return a.usage.Run(ctx) })
	if a.ownCPUs {
		g.Go(func() error { return a.pods.PlaceAll(ctx) })
	}
	if w := a.watcher(); w != nil {
		g.Go(func() error { return w.Run(ctx) })
	}
	if a.devices != nil {
		g.Go(func() error { return a.devices.Run(ctx) })
	}
	g.Go(func() error { return a.control.Run(ctx, control.Socket(a.cfg.RunDir)) })
	g.Go(func() error { return a.folders.Serve(ctx, a.cluster.Bus, a.cfg.Node, a.log) })
	g.Go(func() error { return a.node.Follow(ctx, a.api, a.runtime, a.pods.Kick) })
	g.Go(func() error { return a.services.Follow(ctx, a.api) })
	g.Go(func() error {
		select {
		case <-a.node.Known():
			return source.FollowPods(ctx, a.api, a.cfg.Node, a)
		case <-ctx.Done():
			return nil
		}
	})
	a.events.Node("Normal", "Starting", "Starting kubelet.")
	if err = g.Wait(); errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// adopt goes on with the pods that were kept on disk, without waiting for the cluster.
func (a *agent) adopt() error {
	pods, statuses, err := a.store.Pods()
	if err != nil {
		return err
	}
	for _, p := range pods {
		a.pods.Adopt(p, statuses[p.UID])
		if static.Is(p) {
			a.static.Adopt(p, statuses[p.UID])
		}
	}
	a.static.Begin()
	if len(pods) > 0 {
		a.log.Info("pods kept from before", zap.Int("count", len(pods)))
	}
	return nil
}

func instanceID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// retried tells of reads of the API that begin anew: what is away or too old comes back by
// itself, the rest may need a person.
func retried(log *zap.Logger) func(path string, err error) {
	return func(path string, err error) {
		level := zap.WarnLevel
		if apierrors.IsServiceUnavailable(err) || apierrors.IsResourceExpired(err) || apierrors.IsTooManyRequests(err) || apierrors.IsTimeout(err) {
			level = zap.DebugLevel
		}
		log.Log(level, "following the API begins anew", zap.String("path", path), zap.Error(err))
	}
}
