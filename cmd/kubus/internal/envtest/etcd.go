package envtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
)

// EtcdFlags are those of etcd that mean something here.
type EtcdFlags struct {
	DataDir          string
	ListenClientURLs []string
	UnsafeNoFsync    bool
}

// Add defines the flags as etcd calls them.
func (f *EtcdFlags) Add(flags *pflag.FlagSet) {
	flags.StringVar(&f.DataDir, "data-dir", "default.etcd", "directory of the store")
	flags.StringSliceVar(&f.ListenClientURLs, "listen-client-urls", []string{"http://localhost:2379"}, "where the API server and health checks ask")
	flags.BoolVar(&f.UnsafeNoFsync, "unsafe-no-fsync", false, "leave the disk to the kernel: what was written does not survive a loss of power")
}

// storePath is where the program called etcd answers with a Store.
const storePath = "/kubus/store"

// Store is what an API server must know of its store.
type Store struct {
	Dir           string `json:"dir"` // absolute
	UnsafeNoFsync bool   `json:"unsafeNoFsync"`
}

// Etcd answers until ctx ends.
func Etcd(ctx context.Context, f EtcdFlags) error {
	dir, err := filepath.Abs(f.DataDir)
	if err != nil {
		return fmt.Errorf("data-dir: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]string{"health": "true", "reason": ""})
	})
	mux.HandleFunc("GET "+storePath, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, Store{filepath.Join(dir, "kubus"), f.UnsafeNoFsync})
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	group, ctx := errgroup.WithContext(ctx)
	for _, text := range f.ListenClientURLs {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" {
			return fmt.Errorf("listen-client-urls: %q: want http://host:port", text)
		}
		l, err := net.Listen("tcp", u.Host)
		if err != nil {
			return fmt.Errorf("listen-client-urls: %w", err)
		}
		group.Go(func() error {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
	}
	group.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	return group.Wait()
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body) // who asked may have gone
}

// storeOf asks the program called etcd for its store.
func storeOf(ctx context.Context, servers []string) (Store, error) {
	if len(servers) != 1 {
		return Store{}, fmt.Errorf("etcd-servers: want one, got %d", len(servers))
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, servers[0]+storePath, nil)
	if err != nil {
		return Store{}, fmt.Errorf("etcd-servers: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return Store{}, fmt.Errorf("etcd-servers: %w", err)
	}
	defer resp.Body.Close()
	var s Store
	if err := json.NewDecoder(resp.Body).Decode(&s); resp.StatusCode != http.StatusOK || err != nil || s.Dir == "" {
		return Store{}, fmt.Errorf("etcd-servers: what answers at %s is not the etcd of `kubus envtest`", servers[0])
	}
	return s, nil
}
