// Package runtime runs pods and their containers on one node: images, sandboxes, containers and their streams.
//
// Start with Runtime, which the pod workers drive; SandboxSpec and ContainerSpec say what to run, Sandbox and
// ContainerStatus what runs. The shape follows the CRI (k8s.io/cri-api), in process and without its wire format.
//
// Promises: every method may be called from many goroutines. Stop and Remove methods are idempotent; when they
// return nil nothing of the thing is left. What runs survives the process: a shim per pod holds it, and a new
// Runtime over the same folders finds it again with its exit codes. Events are hints (at least once, in order for
// each container); the truth is what Containers and Sandboxes answer.
package runtime

import (
	"context"
	"io"
	"time"
)

// Runtime is what the pod workers need of the node.
type Runtime interface {
	// ResolveImage finds a present image by reference (normalised as Docker does), digest or id.
	ResolveImage(ref string) (*Image, bool)
	// PullImage fetches an image and unpacks it; layers that are present are not fetched again. Credentials are
	// tried in order, anonymous last. The error is a *PullError when a registry was asked. progress may be nil.
	PullImage(ctx context.Context, ref string, creds []Credential, progress func(string)) (*Image, error)
	// MountImage shows the files of a present image, given as to ResolveImage, in a folder, read-only; again is no
	// error. It must stay among the images until the folder is unmounted.
	MountImage(ref, dir string) error
	// Images lists what is present, ordered by id.
	Images() []Image
	// RemoveImage removes an image by id or reference; ErrImageInUse when a container was made from it.
	RemoveImage(ctx context.Context, ref string) error

	// SetPodCIDR gives the node's pod network and makes the bridge. Until then RunSandbox answers ErrNoNetwork
	// for every pod that is not on the host's network. The same CIDR may be given again; another one is refused
	// while pods hold addresses of the first.
	SetPodCIDR(ctx context.Context, cidr string) error

	// RunSandbox makes the namespaces, the network and the shim of a pod. On error nothing is left.
	RunSandbox(ctx context.Context, spec SandboxSpec) (*Sandbox, error)
	// Sandboxes lists every sandbox on the node, those found after a restart included.
	Sandboxes() []Sandbox
	// StopSandbox kills what still runs in the sandbox and gives its network back; its containers' statuses stay.
	StopSandbox(ctx context.Context, id string) error
	// RemoveSandbox stops the sandbox and removes it with all its containers, except for their logs.
	RemoveSandbox(ctx context.Context, id string) error

	// CreateContainer prepares a container (root file system, OCI spec) and returns its id; nothing runs yet.
	CreateContainer(ctx context.Context, sandboxID string, spec ContainerSpec) (id string, err error)
	// StartContainer runs the container's process. The error is the runtime's own sentence when the process
	// could not be started (entrypoint missing, user unknown); the container is then Exited with code 128.
	StartContainer(ctx context.Context, id string) error
	// StopContainer sends the stop signal, then after grace kills the container's whole cgroup, and returns
	// when the container has ended. Grace zero kills at once.
	StopContainer(ctx context.Context, id string, grace time.Duration) error
	// ResizeContainer sets the CPU and memory limits of a running container, zero being none, and then the labels,
	// which are kept with it; both show in its status. ErrNotRunning when it has ended; a memory
	// limit below what is used is refused.
	ResizeContainer(ctx context.Context, id string, r Resources, labels map[string]string) error
	// PlaceContainer sets the CPUs that a running container may run on, in the kernel's notation. ErrNotRunning when it
	// has ended.
	PlaceContainer(ctx context.Context, id, cpus string) error
	// ResizeSandbox sets the CPU and memory limits of the pod's cgroup in the same way.
	ResizeSandbox(ctx context.Context, id string, r Resources) error
	// MemoryUsed is what a running container or a sandbox has charged, in bytes.
	MemoryUsed(id string) (int64, error)
	// RemoveContainer removes a container, killing it when it still runs. Its log file stays.
	RemoveContainer(ctx context.Context, id string) error
	// Containers lists the containers of a sandbox by creation; empty for an unknown sandbox.
	Containers(sandboxID string) []ContainerStatus
	// ContainerStatus is one container's state.
	ContainerStatus(id string) (*ContainerStatus, bool)
	// Events is the one channel of changes. The runtime never blocks on it: when the reader is slow, events are
	// kept in memory. It is closed by Close.
	Events() <-chan Event

	// Exec runs a command in a running container and returns its exit code when it ended and its output was
	// copied. An error means that the command did not run or that its end is unknown: ErrNotRunning,
	// ErrExecTimeout, the context's error, or the OCI runtime's own sentence.
	Exec(ctx context.Context, id string, opts ExecOptions) (exitCode int, err error)
	// Attach connects to the main process's streams until it ends, ctx ends or stdin and the outputs are closed.
	Attach(ctx context.Context, id string, opts AttachOptions) error
	// PortForward copies bytes between conn and a port of the pod until either side ends. It tries the addresses
	// in their order, from inside the pod's network; none of them stands for the pod's loopback.
	PortForward(ctx context.Context, sandboxID string, addresses []string, port uint16, conn io.ReadWriteCloser) error

	// Version names the OCI runtime, for instance "runc", "1.5.2".
	Version() (name, version string)
	// Close lets go of the shims without stopping anything.
	Close() error
}

// Image is one unpacked image.
type Image struct {
	ID          string   // digest of the image's config, "sha256:…"
	RepoTags    []string // normalised references with a tag, for instance "docker.io/library/busybox:1.37"
	RepoDigests []string // normalised references with the digest of the manifest or index that was pulled
	Size        int64    // bytes of the unpacked layers
	Config      ImageConfig
}

// ImageConfig is what an image says about its processes.
type ImageConfig struct {
	Env         []string
	Entrypoint  []string
	Cmd         []string
	User        string // "", "uid", "uid:gid", "name" or "name:group"
	WorkingDir  string
	StopSignal  string
	Labels      map[string]string
	ExposedPort []string
	Volumes     []string
}

// Credential is one way to log in to a registry.
type Credential struct {
	Username, Password string
	IdentityToken      string // OAuth2 refresh token
	RegistryToken      string // bearer token
}

// DNS is the content of a pod's resolv.conf, decided by the pod worker, which also writes the file.
type DNS struct {
	Servers, Searches, Options []string
}

// PortMapping makes a container's port reachable on the node.
type PortMapping struct {
	HostIP        string // "" for every address
	HostPort      uint16
	ContainerPort uint16
	Protocol      string // "TCP", "UDP" or "SCTP"
}

// SandboxSpec says what a pod's surroundings are.
type SandboxSpec struct {
	PodUID, Namespace, Name string
	Attempt                 int    // counts the sandboxes of one pod
	Hostname, Domainname    string // ignored with HostNetwork
	Labels                  map[string]string
	HostNetwork             bool
	HostPID                 bool
	HostIPC                 bool
	ShareProcessNamespace   bool
	DNS                     DNS // kept for inspection; the file is a mount of the containers
	// CgroupParent is the pod's cgroup below the instance's, "" for "pod<uid>". It may name a QoS class first,
	// as in "burstable/pod<uid>".
	CgroupParent   string
	Resources      Resources // limits of the pod's cgroup; zero fields set none
	Sysctls        map[string]string
	PortMappings   []PortMapping
	LogDir         string // folder that relative log paths are in
	RuntimeHandler string // "" or "runc": the configured OCI runtime
}

// SandboxState tells whether a sandbox can take containers.
type SandboxState int

// A sandbox is Ready until it is stopped or its shim is lost.
const (
	SandboxUnknown SandboxState = iota
	SandboxReady
	SandboxNotReady
)

// Sandbox is a pod's surroundings as they are.
type Sandbox struct {
	ID                      string
	PodUID, Namespace, Name string
	Attempt                 int
	Labels                  map[string]string
	IPs                     []string // empty with HostNetwork
	NetNSPath               string   // empty with HostNetwork
	HostNetwork             bool
	CreatedAt               time.Time
	State                   SandboxState
	Resources               Resources // limits of its cgroup, as set last
}

// Propagation of a mount, in the words of mount_namespaces(7).
type Propagation string

// The three propagation modes of Kubernetes; "" is private.
const (
	PropagationPrivate         Propagation = ""
	PropagationHostToContainer Propagation = "rslave"
	PropagationBidirectional   Propagation = "rshared"
)

// Mount binds a file or folder of the node into a container.
type Mount struct {
	HostPath, ContainerPath string
	ReadOnly                bool
	RecursiveReadOnly       bool
	NoExec                  bool // nothing in it can be executed
	Propagation             Propagation
}

// Device passes a device node of the host into a container.
type Device struct {
	HostPath, ContainerPath string
	Permissions             string // of "rwm"
}

// Resources are cgroup settings; a zero field leaves the kernel's default.
type Resources struct {
	CPUShares   uint64 // 2..262144, converted to cpu.weight on cgroup v2
	CPUQuota    int64  // microseconds per period; -1 unlimited
	CPUPeriod   uint64 // microseconds
	MemoryLimit int64  // bytes
	PidsLimit   int64
	OOMScoreAdj int // -1000..1000, clamped to what the kernel allows us
	CpusetCpus  string
	CpusetMems  string
}

// Seccomp profile kinds, as in the pod's securityContext.
const (
	SeccompUnconfined     = "Unconfined" // also what "" means
	SeccompRuntimeDefault = "RuntimeDefault"
	SeccompLocalhost      = "Localhost"
)

// Security is what a container's process may do.
type Security struct {
	RunAsUser, RunAsGroup *int64
	RunAsUserName         string // used when RunAsUser is nil; "" for the image's user
	SupplementalGroups    []int64
	// SupplementalGroupsStrict leaves out the groups that the image's /etc/group gives the user.
	SupplementalGroupsStrict bool
	AddCapabilities          []string // without "CAP_", "ALL" for all
	DropCapabilities         []string
	Privileged               bool
	ReadOnlyRoot             bool
	NoNewPrivs               bool
	Seccomp                  string // one of the Seccomp constants, "" is Unconfined
	SeccompLocalhostPath     string // absolute, with SeccompLocalhost
	UnmaskedProc             bool   // procMount: Unmasked
	NonRoot                  bool   // fail rather than run as user 0
}

// ContainerSpec says what to run.
type ContainerSpec struct {
	Name       string
	Attempt    int      // restarts before this one
	Image      string   // Image.ID or a reference that resolves
	Command    []string // overrides the image's entrypoint; $(VAR) is already expanded
	Args       []string // overrides the image's cmd
	Env        []string // NAME=value; wins over the image's
	WorkingDir string   // "" for the image's
	Labels     map[string]string
	Mounts     []Mount
	Devices    []Device
	LogPath    string // absolute, or below the sandbox's LogDir
	Stdin      bool
	StdinOnce  bool
	TTY        bool
	Resources  Resources
	Hugepages  map[int64]int64 // bytes at most, by the pages' size; of other sizes none, where the kernel can tell
	Security   Security
	// Annotations are the OCI spec's; CDI names devices of the Container Device Interface.
	Annotations map[string]string
	CDI         []string
	StopSignal  string // "" for the image's, else SIGTERM
	// TargetContainerID joins the process namespace of another container (ephemeral containers).
	TargetContainerID string
}

// ContainerState is where a container is in its one life: Created, Running, Exited.
type ContainerState int

// Unknown means that the shim has not answered yet since the agent began, or that it was lost and the container's end
// is being established.
const (
	ContainerUnknown ContainerState = iota
	ContainerCreated
	ContainerRunning
	ContainerExited
)

// Reasons of a container's end.
const (
	ReasonCompleted = "Completed"  // exit code 0
	ReasonError     = "Error"      // any other exit code
	ReasonOOMKilled = "OOMKilled"  // the kernel killed it for memory
	ReasonStart     = "StartError" // the process could not be started; Message says why, ExitCode is 128
	// ReasonUnknown: the shim died with the container; the exit code is a made-up 137.
	ReasonUnknown = "ContainerStatusUnknown"
)

// ContainerStatus is a container as it is.
type ContainerStatus struct {
	ID, SandboxID string
	Name          string
	Attempt       int
	Image         string // what the spec asked for
	ImageID       string // Image.ID
	ImageRef      string // a RepoDigest when there is one, else ImageID: status.containerStatuses[].imageID
	Labels        map[string]string
	State         ContainerState
	PID           int
	CreatedAt     time.Time
	StartedAt     time.Time // zero before
	FinishedAt    time.Time // zero before
	ExitCode      int       // 128+signal when killed by a signal
	Signal        int
	Reason        string
	Message       string
	LogPath       string
	Cgroup        string        // path of its group below each hierarchy
	User          ContainerUser // whom the process ran as at first
	Resources     Resources     // of its cgroup, as set last
}

// ContainerUser is the resolved identity of a container's first process.
type ContainerUser struct {
	UID, GID           int64
	SupplementalGroups []int64
}

// EventType says what an Event is about.
type EventType int

// The closed list of events.
const (
	ContainerStarted   EventType = iota + 1
	ContainerStopped             // carries ExitCode and the rest
	SandboxStopped               // the shim was lost, or the pod's init; the pod needs a new sandbox
	ContainerUnstarted           // its start never reached the shim; it is Created, as before
)

// Event is one change.
type Event struct {
	Type                EventType
	SandboxID           string
	PodUID              string
	ContainerID         string
	ExitCode            int
	OOMKilled           bool
	StartedAt, FinishAt time.Time
}

// Size is a terminal's size in characters.
type Size struct {
	Width, Height uint16
}

// ExecOptions says what to run in a container. Nil streams are not connected.
type ExecOptions struct {
	Command        []string
	TTY            bool
	Stdin          io.Reader
	Stdout, Stderr io.Writer // Stderr is unused with TTY
	Resize         <-chan Size
	Timeout        time.Duration // 0: none; at its end the command's processes are killed
}

// AttachOptions says which streams to connect.
type AttachOptions struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Resize         <-chan Size
}
