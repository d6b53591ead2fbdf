package shim

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Socket is the name of the shim's socket in its folder.
const Socket = "shim.sock"

// maxMessage bounds a message: a status of many containers stays far below it.
const maxMessage = 4 << 20

// Operations of a Request.
const (
	OpStart     = "start"     // Start; answer: Status of the running container, or Error
	OpSignal    = "signal"    // ID, Signal, All
	OpExec      = "exec"      // ID, Exec and up to three descriptors; answers: started (PID), then Exit
	OpAttach    = "attach"    // ID and three descriptors; answers when the container ended
	OpResize    = "resize"    // ID, Width, Height
	OpForget    = "forget"    // ID; the container must have ended
	OpSettle    = "settle"    // ID; answer: Status as it is, or NotFound, and then it never will be started
	OpSubscribe = "subscribe" // answers: every status, Synced, then each change
	OpShutdown  = "shutdown"  // kills everything; the connection ends when the shim ends
)

// Request is what the agent asks. One connection carries one request; exec takes further Signal requests.
type Request struct {
	Op     string         `json:"op"`
	ID     string         `json:"id,omitempty"`
	Start  *StartRequest  `json:"start,omitempty"`
	Exec   *ExecRequest   `json:"exec,omitempty"`
	Attach *AttachRequest `json:"attach,omitempty"`
	Signal int            `json:"signal,omitempty"`
	All    bool           `json:"all,omitempty"` // the whole cgroup; Signal is then SIGKILL
	Width  uint16         `json:"width,omitempty"`
	Height uint16         `json:"height,omitempty"`
}

// StartRequest says how to run a prepared bundle, which is the folder named like the container below the shim's.
type StartRequest struct {
	Runtime   string   `json:"runtime"`           // OCI runtime's path
	LogPath   string   `json:"logPath,omitempty"` // "" discards the output
	Stdin     bool     `json:"stdin,omitempty"`
	StdinOnce bool     `json:"stdinOnce,omitempty"`
	TTY       bool     `json:"tty,omitempty"`
	Cgroups   []string `json:"cgroups"` // the container's cgroup folders, one for each hierarchy
	Direct    bool     `json:"direct"`  // the runtime is runc: its state may be removed without calling it
}

// ExecRequest says what to run in a container. Descriptors follow in the order stdin, stdout, stderr as far as
// they are said to be there; with TTY none is sent and the terminal's master comes back with the first answer.
type ExecRequest struct {
	Process string `json:"process"` // file with an OCI process, relative to the shim's folder; the shim removes it
	TTY     bool   `json:"tty,omitempty"`
	Stdin   bool   `json:"stdin,omitempty"`
	Stdout  bool   `json:"stdout,omitempty"`
	Stderr  bool   `json:"stderr,omitempty"`
}

// AttachRequest says which descriptors follow, in this order.
type AttachRequest struct {
	Stdin  bool `json:"stdin,omitempty"`
	Stdout bool `json:"stdout,omitempty"`
	Stderr bool `json:"stderr,omitempty"`
}

// Kinds of error that the agent tells apart.
const (
	KindNotFound   = "NotFound"
	KindNotRunning = "NotRunning"
	KindRuntime    = "Runtime" // the OCI runtime's own words
	KindInternal   = "Internal"
)

// Reply is an answer, or an event of a subscription.
type Reply struct {
	Error  string  `json:"error,omitempty"`
	Kind   string  `json:"kind,omitempty"`
	PID    int     `json:"pid,omitempty"`
	Exit   *int    `json:"exit,omitempty"`
	Status *Status `json:"status,omitempty"`
	Synced bool    `json:"synced,omitempty"`
}

// Err is the reply's error, nil when it carries none.
func (r *Reply) Err() error {
	if r.Error == "" {
		return nil
	}
	return &Error{Kind: r.Kind, Message: r.Error}
}

// Error is what the shim could not do.
type Error struct{ Kind, Message string }

func (e *Error) Error() string { return e.Message }

// Status is one container as its shim knows it; kept in the container's folder as status.json.
type Status struct {
	ID         string    `json:"id"`
	PID        int       `json:"pid,omitempty"`
	Running    bool      `json:"running,omitempty"`
	StartedAt  time.Time `json:"startedAt"`
	FinishedAt time.Time `json:"finishedAt"`
	ExitCode   int       `json:"exitCode"`
	Signal     int       `json:"signal,omitempty"`
	OOMKilled  bool      `json:"oomKilled,omitempty"`
	Error      string    `json:"error,omitempty"` // the process could not be started
}

// StatusFile is where a container's Status is kept, below its folder.
const StatusFile = "status.json"

// Conn carries length-prefixed JSON and file descriptors over a unix socket. Send and Recv may run at once.
type Conn struct {
	file *os.File
	raw  syscall.RawConn
	mu   sync.Mutex // one Send at a time
}

// NewConn takes over a connected socket.
func NewConn(fd int) (*Conn, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "shim")
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Conn{file: f, raw: raw}, nil
}

// Dead tells that the shim of a folder has ended. It is certain: a shim's socket takes connections exactly as long as its
// process lives, however silent that is, since nobody else holds it.
func Dead(dir string) bool {
	conn, err := Dial(dir)
	if err == nil {
		conn.Close()
		return false
	}
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT)
}

// Dial connects to the socket in a shim's folder; EAGAIN says that too many wait there already. The folder is opened
// first, since a socket's path is short.
func Dial(dir string) (*Conn, error) {
	folder, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(folder)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	addr := &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(folder) + "/" + Socket}
	if err := unix.Connect(fd, addr); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return NewConn(fd)
}

// Close ends the connection; it may be called twice.
func (c *Conn) Close() error { return c.file.Close() }

// Send writes one message; the descriptors stay the caller's.
func (c *Conn) Send(v any, fds ...int) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > maxMessage {
		return errors.New("message is too large")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var head [4]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(body)))
	if len(fds) == 0 {
		_, err = c.file.Write(append(head[:], body...))
		return err
	}
	rights := unix.UnixRights(fds...)
	var sendErr error
	if err := c.raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendmsg(int(fd), head[:], rights, nil, unix.MSG_NOSIGNAL)
		return sendErr != unix.EAGAIN
	}); err != nil {
		return err
	}
	if sendErr != nil {
		return sendErr
	}
	_, err = c.file.Write(body)
	return err
}

// Recv reads one message. Descriptors that came along belong to the caller, also when there is an error.
func (c *Conn) Recv(v any) (fds []int, err error) {
	var head [4]byte
	for got := 0; got < len(head); {
		n, more, err := c.recvmsg(head[got:])
		fds = append(fds, more...)
		if err != nil {
			return fds, err
		}
		if n == 0 {
			return fds, io.EOF
		}
		got += n
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > maxMessage {
		return fds, fmt.Errorf("message of %d bytes is too large", size)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c.file, body); err != nil {
		return fds, err
	}
	return fds, json.Unmarshal(body, v)
}

func (c *Conn) recvmsg(buf []byte) (n int, fds []int, err error) {
	oob := make([]byte, unix.CmsgSpace(4*4))
	var oobn int
	if rerr := c.raw.Read(func(fd uintptr) bool {
		n, oobn, _, _, err = unix.Recvmsg(int(fd), buf, oob, unix.MSG_CMSG_CLOEXEC)
		return err != unix.EAGAIN && err != unix.EINTR
	}); rerr != nil {
		return 0, nil, rerr
	}
	if err != nil || oobn == 0 {
		return n, nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return n, nil, err
	}
	for i := range messages {
		if got, err := unix.ParseUnixRights(&messages[i]); err == nil {
			fds = append(fds, got...)
		}
	}
	return n, fds, nil
}
