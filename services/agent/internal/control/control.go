// Package control answers the commands of `kubus image` on a node, through a socket that
// only root can open: HTTP, so that curl can speak to it too.
//
//	GET    /images                   the images, as JSON
//	POST   /images/pull?name=REF     lines of JSON (Line), the last with an error or what is there now
//	POST   /images/import?name=REF   the same; the body is the archive
//	DELETE /images?name=REF          204, 404, or 409 while a container uses it
//
// Promises: what is pulled here is pulled as for pods, with the node's registries and without
// pull secrets; images that come this way are subject to garbage collection like all others.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"kubus.dev/services/agent/internal/runtime"
)

// Images is what of a node's runtime is spoken to.
type Images interface {
	Images() []runtime.Image
	PullImage(ctx context.Context, ref string, creds []runtime.Credential, progress func(string)) (*runtime.Image, error)
	ImportImages(ctx context.Context, archive io.Reader, as string, progress func(string)) ([]string, error)
	RemoveImage(ctx context.Context, ref string) error
}

// Image is one image in the answer to GET /images.
type Image struct {
	ID      string   `json:"id"`
	Tags    []string `json:"tags,omitempty"`
	Digests []string `json:"digests,omitempty"`
	Size    int64    `json:"size"` // unpacked bytes
}

// Line is one line of the answer to a pull or an import.
type Line struct {
	Progress string   `json:"progress,omitempty"`
	Error    string   `json:"error,omitempty"`
	Images   []string `json:"images,omitempty"` // references
}

// Server answers.
type Server struct {
	Images  Images
	Changed func() // some image came or went
}

// Socket is where the agent with this folder for what must not outlive a boot listens.
func Socket(runDir string) string { return filepath.Join(runDir, "agent.sock") }

// Run listens until ctx ends.
func (s *Server) Run(ctx context.Context, socket string) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("listening for commands: %w", err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("listening for commands: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		l.Close()
		return fmt.Errorf("listening for commands: %w", err)
	}
	server := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("listening for commands: %w", err)
	}
	return nil
}

// Handler is what Run serves.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /images", s.list)
	mux.HandleFunc("DELETE /images", s.remove)
	mux.HandleFunc("POST /images/pull", func(w http.ResponseWriter, r *http.Request) {
		s.stream(w, func(progress func(string)) ([]string, error) {
			name := r.URL.Query().Get("name")
			if _, err := s.Images.PullImage(r.Context(), name, nil, progress); err != nil {
				return nil, err
			}
			return []string{name}, nil
		})
	})
	mux.HandleFunc("POST /images/import", func(w http.ResponseWriter, r *http.Request) {
		s.stream(w, func(progress func(string)) ([]string, error) {
			return s.Images.ImportImages(r.Context(), r.Body, r.URL.Query().Get("name"), progress)
		})
	})
	return mux
}

func (s *Server) list(w http.ResponseWriter, _ *http.Request) {
	out := []Image{}
	for _, img := range s.Images.Images() {
		out = append(out, Image{ID: img.ID, Tags: img.RepoTags, Digests: img.RepoDigests, Size: img.Size})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out) // the client is gone
}

func (s *Server) remove(w http.ResponseWriter, r *http.Request) {
	err := s.Images.RemoveImage(r.Context(), r.URL.Query().Get("name"))
	switch {
	case errors.Is(err, runtime.ErrNotFound):
		http.Error(w, err.Error(), http.StatusNotFound)
	case errors.Is(err, runtime.ErrImageInUse):
		http.Error(w, err.Error(), http.StatusConflict)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		s.Changed()
		w.WriteHeader(http.StatusNoContent)
	}
}

// stream writes what work tells while it goes on.
func (s *Server) stream(w http.ResponseWriter, work func(progress func(string)) ([]string, error)) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	var mu sync.Mutex
	out, flush := json.NewEncoder(w), http.NewResponseController(w)
	_ = flush.EnableFullDuplex() // an archive is read while lines are written
	say := func(l Line) {
		mu.Lock()
		defer mu.Unlock()
		if out.Encode(l) == nil {
			_ = flush.Flush()
		}
	}
	images, err := work(func(text string) { say(Line{Progress: text}) })
	if len(images) > 0 {
		s.Changed()
	}
	if err != nil {
		say(Line{Error: err.Error(), Images: images})
		return
	}
	say(Line{Images: images})
}
