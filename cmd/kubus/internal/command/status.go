package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"kubus.dev/cmd/kubus-keeper/spec"
	"kubus.dev/cmd/kubus/internal/admin"
	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/nodenet"
	"kubus.dev/cmd/kubus/internal/roster"
	"kubus.dev/cmd/kubus/internal/serve"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/store"
	"kubus.dev/services/kit"
)

// Status is what `kubus status -o json` prints.
type Status struct {
	Healthy  bool            `json:"healthy"`
	Version  string          `json:"version"`
	DataDir  string          `json:"dataDir"`
	Instance string          `json:"instance,omitempty"`
	Form     string          `json:"form,omitempty"`
	API      APIStatus       `json:"api"`
	Services []ServiceStatus `json:"services"`
	Nodes    []NodeStatus    `json:"nodes"`
	Store    StoreStatus     `json:"store"`
	Problems []string        `json:"problems,omitempty"`
}

// APIStatus tells of the API server.
type APIStatus struct {
	Server  string `json:"server,omitempty"`
	Ready   bool   `json:"ready"`
	Version string `json:"version,omitempty"`
}

// ServiceStatus tells of one process or service.
type ServiceStatus struct {
	Name     string    `json:"name"`
	PID      int       `json:"pid"`
	Healthy  bool      `json:"healthy"`
	Since    time.Time `json:"since,omitzero"`
	Restarts int       `json:"restarts"`
	Message  string    `json:"message,omitempty"`
}

// NodeStatus tells of one node.
type NodeStatus struct {
	Name     string `json:"name"`
	Address  string `json:"address"`
	Ready    bool   `json:"ready"`
	Cordoned bool   `json:"cordoned,omitempty"`
	Version  string `json:"version"`
	PodCIDR  string `json:"podCIDR"`
	Message  string `json:"message,omitempty"`
}

// StoreStatus tells of the state log's server. URL is where the bus is reached.
type StoreStatus struct {
	URL     string         `json:"url"`
	Healthy bool           `json:"healthy"`
	Streams []serve.Stream `json:"streams,omitempty"`
}

func newStatus(s streams) *cobra.Command {
	var dir, output string
	cmd := &cobra.Command{
		Use: "status", Short: "Tell how the cluster of this machine is", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := absolute(dir)
			if err != nil {
				return err
			}
			if output != "" && output != "json" {
				return fmt.Errorf("-o %s: only json is known", output)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
			defer cancel()
			st, err := status(ctx, dir)
			if err != nil {
				return err
			}
			if output == "json" {
				enc := json.NewEncoder(s.out)
				enc.SetIndent("", "  ")
				err = enc.Encode(st)
			} else {
				err = st.print(s.out)
			}
			if err == nil && !st.Healthy {
				err = &exitError{1}
			}
			return err
		},
	}
	dataDirFlag(cmd, &dir)
	cmd.Flags().StringVarP(&output, "output", "o", "", "json, or empty for text")
	return cmd
}

func status(ctx context.Context, dir string) (*Status, error) {
	st := &Status{Version: kit.Version, DataDir: dir, Services: []ServiceStatus{}, Nodes: []NodeStatus{}}
	i, err := instance.Load(dir)
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("the data directory is closed to this user, call it with sudo: %w", err)
	}
	if err != nil {
		return nil, err
	}
	if i == nil {
		st.problem("there is no cluster in %s: start one with `kubus up`", dir)
		return st, nil
	}
	st.Instance, st.Form, st.API.Server = i.ID, i.Form, server(i)
	pid, kept, err := instance.User(dir)
	if err != nil {
		return nil, err
	}
	if pid == 0 {
		st.problem("the cluster is down: start it with `kubus up`")
		return st, nil
	}
	st.processes(ctx, i, pid, kept)
	st.api(ctx, i)
	st.store(ctx, i)
	st.Healthy = len(st.Problems) == 0
	return st, nil
}

func (st *Status) problem(format string, args ...any) {
	st.Problems = append(st.Problems, fmt.Sprintf(format, args...))
}

// processes asks every process that is kept, or the one in the foreground.
func (st *Status) processes(ctx context.Context, i *instance.Instance, pid int, kept bool) {
	if !kept {
		st.ask(ctx, http.DefaultClient, ServiceStatus{Name: "kubus", PID: pid}, i.Address(serve.HealthPort))
		return
	}
	st.Services = append(st.Services, ServiceStatus{Name: "keeper", PID: pid, Healthy: true})
	standby, _ := spec.ReadRecord(spec.RecordFile(i.RunDir(), spec.StandbyName))
	if standby != nil {
		st.Services = append(st.Services, serviceOf(spec.StandbyName, standby))
	}
	list, err := spec.Load(i.Path("keeper.json"))
	if err != nil {
		st.problem("%v", err)
		return
	}
	for _, p := range list.Processes {
		record, err := spec.ReadRecord(spec.RecordFile(i.RunDir(), p.Name))
		if err != nil || record == nil || !record.Alive() {
			st.Services = append(st.Services, ServiceStatus{Name: p.Name, Message: "not running"})
			st.problem("%s is not running; see %s", p.Name, filepath.Join(i.LogDir(), p.Name+".log"))
			continue
		}
		if p.Name == "nats-server" {
			st.Services = append(st.Services, serviceOf(p.Name, record))
			continue
		}
		client, address := healthOf(i, p.Name)
		st.ask(ctx, client, serviceOf(p.Name, record), address)
	}
}

// healthOf is where a process that is kept tells its health, and what reaches it there.
func healthOf(i *instance.Instance, process string) (*http.Client, string) {
	for _, n := range i.FurtherNodes() {
		for _, s := range roster.OfNode() {
			if process == processName(n, s.Name) {
				transport := &http.Transport{DialContext: nodenet.Dialer(n), DisableKeepAlives: true}
				return &http.Client{Transport: transport}, roster.NodeHealth(s.Name)
			}
		}
	}
	if i.Form == instance.Services {
		return http.DefaultClient, i.Address(roster.HealthPort(process))
	}
	return http.DefaultClient, i.Address(serve.HealthPort)
}

func serviceOf(name string, r *spec.Record) ServiceStatus {
	return ServiceStatus{Name: name, PID: r.PID, Healthy: r.Alive(), Since: r.Since, Restarts: r.Restarts}
}

// ask adds what a process says of its own readiness.
func (st *Status) ask(ctx context.Context, client *http.Client, s ServiceStatus, address string) {
	_, err := get(ctx, client, "http://"+address+"/readyz?verbose")
	s.Healthy = err == nil
	if err != nil {
		s.Message = explain(ctx, client, address, err)
		st.problem("%s: %s", s.Name, s.Message)
	}
	st.Services = append(st.Services, s)
}

// withheld is what all checks together say of one that failed; alone it gives its reason.
const withheld = " failed: reason withheld"

// explain asks the failed checks one by one why they fail.
func explain(ctx context.Context, client *http.Client, address string, failed error) string {
	parts := strings.Split(failed.Error(), "; ")
	for i, part := range parts {
		name, ok := strings.CutSuffix(part, withheld)
		if !ok {
			continue
		}
		if _, err := get(ctx, client, "http://"+address+"/readyz/"+name); err != nil {
			parts[i] = name + " failed: " + strings.TrimPrefix(err.Error(), "internal server error: ")
		}
	}
	return strings.Join(parts, "; ")
}

func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(strings.Join(failing(string(body)), "; "))
	}
	return body, err
}

// failing gives the failed checks of a health answer.
func failing(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "[-]"); ok {
			out = append(out, name)
		}
	}
	if len(out) == 0 {
		out = append(out, strings.TrimSpace(text))
	}
	return out
}

func (st *Status) api(ctx context.Context, i *instance.Instance) {
	if err := renew(i, time.Now()); err != nil {
		st.problem("%v", err)
		return
	}
	c, err := admin.New(st.API.Server, i.Path("pki"))
	if err != nil {
		st.problem("%v", err)
		return
	}
	defer c.Close()
	if _, err := c.Get(ctx, "/readyz"); err != nil {
		st.problem("the API: %v", err)
		return
	}
	st.API.Ready = true
	if data, err := c.Get(ctx, "/version"); err == nil {
		var v struct {
			GitVersion string `json:"gitVersion"`
		}
		_ = json.Unmarshal(data, &v)
		st.API.Version = v.GitVersion
	}
	nodes, err := c.Nodes(ctx)
	if err != nil {
		st.problem("the nodes: %v", err)
		return
	}
	for _, n := range nodes {
		ready := n.Ready()
		ns := NodeStatus{Name: n.Metadata.Name, Address: n.InternalIP(), Cordoned: n.Spec.Unschedulable, Ready: ready.Status == "True", Version: n.Status.NodeInfo.KubeletVersion, PodCIDR: n.Spec.PodCIDR}
		if !ns.Ready {
			ns.Message = strings.Trim(ready.Reason+": "+ready.Message, ": ")
			st.problem("node %s is not Ready: %s", ns.Name, ns.Message)
		}
		st.Nodes = append(st.Nodes, ns)
	}
	sort.Slice(st.Nodes, func(a, b int) bool { return st.Nodes[a].Name < st.Nodes[b].Name })
}

func (st *Status) store(ctx context.Context, i *instance.Instance) {
	st.Store.URL = roster.BusURL(i)
	var err error
	if i.Form == instance.AllInOne {
		var data []byte
		if data, err = get(ctx, http.DefaultClient, "http://"+i.Address(serve.HealthPort)+"/store"); err == nil {
			err = json.Unmarshal(data, &st.Store.Streams)
		}
	} else {
		st.Store.Streams, err = askStore(ctx, i)
	}
	if err != nil {
		st.problem("the store: %v", err)
		return
	}
	st.Store.Healthy = true
}

func askStore(ctx context.Context, i *instance.Instance) ([]serve.Stream, error) {
	o := bus.Options{URL: roster.BusURL(i), Name: store.OperatorRole.Name, NoWait: true,
		NkeySeedFile: roster.BusKey(i, store.OperatorRole.Name), CAFile: roster.BusCA(i)}
	conn, err := bus.Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Drain() }()
	return serve.Streams(ctx, conn)
}

func (st *Status) print(w io.Writer) error {
	word := map[bool]string{true: "ok", false: "not ok"}
	fmt.Fprintf(w, "kubus %s in %s: %s\n", st.Version, st.DataDir, map[bool]string{true: "healthy", false: "not healthy"}[st.Healthy])
	if st.Instance != "" {
		fmt.Fprintf(w, "API %s %s %s\n", st.API.Server, st.API.Version, word[st.API.Ready])
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(st.Services) > 0 {
		fmt.Fprintln(t, "\nPROCESS\tPID\tHEALTH\tRESTARTS\tUP FOR")
		for _, s := range st.Services {
			up := ""
			if !s.Since.IsZero() {
				up = time.Since(s.Since).Round(time.Second).String()
			}
			fmt.Fprintf(t, "%s\t%d\t%s\t%d\t%s\n", s.Name, s.PID, word[s.Healthy], s.Restarts, up)
		}
	}
	if len(st.Nodes) > 0 {
		fmt.Fprintln(t, "\nNODE\tADDRESS\tREADY\tVERSION\tPODS")
		for _, n := range st.Nodes {
			ready := fmt.Sprint(n.Ready)
			if n.Cordoned {
				ready += ", cordoned"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", n.Name, n.Address, ready, n.Version, n.PodCIDR)
		}
	}
	if len(st.Store.Streams) > 0 {
		fmt.Fprintf(t, "\nSTREAM in %s\tMESSAGES\tBYTES\tREVISION\n", st.Store.URL)
		for _, s := range st.Store.Streams {
			fmt.Fprintf(t, "%s\t%d\t%d\t%d\n", s.Name, s.Messages, s.Bytes, s.LastSeq)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for n, p := range st.Problems {
		if n == 0 {
			fmt.Fprintln(w)
		}
		if _, err := fmt.Fprintln(w, "problem:", p); err != nil {
			return err
		}
	}
	return nil
}
