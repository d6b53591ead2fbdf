// Command web is the server of the examples and end-to-end tests: small, static,
// and able to misbehave when asked.
//
//	/           host name, version and GREETING, one line
//	/env        the environment;  /file?path=  a file
//	/healthz    liveness;  /readyz  readiness; POST /break?what=healthz and
//	            POST /mend?what=healthz turn either off and on
//	/exit?code= ends the process
//	/stream     one line a second until the client leaves
//	POST /ConsumeCPU?millicores=100&durationSec=60 burns that much of a CPU meanwhile
//
// With -get it is a client: it fetches one page, over HTTPS as the pod's
// ServiceAccount, and ends. (Debian's static busybox cannot resolve names: its C
// library wants plug-ins that the image has not.)
//
// On SIGTERM it goes on serving for -drain, since rules on other nodes may still
// lead here, then finishes what is in hand.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	listen := flag.String("listen", ":8080", "address to serve on")
	drain := flag.Duration("drain", 2*time.Second, "how long to go on serving after SIGTERM")
	page := flag.String("get", "", "fetch this page and end")
	flag.Parse()
	err := error(nil)
	if *page != "" {
		err = get(*page)
	} else {
		err = run(*listen, *drain)
	}
	if err != nil {
		log.Fatal(err)
	}
}

const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount/"

func get(page string) error {
	req, err := http.NewRequest(http.MethodGet, page, nil)
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: 5 * time.Second}
	if req.URL.Scheme == "https" {
		token, err := os.ReadFile(serviceAccount + "token")
		if err != nil {
			return err
		}
		ca, err := os.ReadFile(serviceAccount + "ca.crt")
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(ca)
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
		req.Header.Set("Authorization", "Bearer "+string(token))
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(os.Stdout, resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", page, resp.Status)
	}
	return err
}

type site struct {
	host, version string
	live, ready   atomic.Bool
}

func run(listen string, drain time.Duration) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	s := &site{host: host, version: os.Getenv("VERSION")}
	s.live.Store(true)
	s.ready.Store(true)
	server := &http.Server{Addr: listen, Handler: s.routes(), ReadHeaderTimeout: 5 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	log.Printf("web %s serving on %s", s.version, listen)
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	log.Printf("draining for %s", drain)
	time.Sleep(drain)
	limited, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return server.Shutdown(limited)
}

func (s *site) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ConsumeCPU", consume)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		log.Printf("%s %s", r.Method, r.URL)
		fmt.Fprintf(w, "%s %s %s\n", s.host, s.version, os.Getenv("GREETING"))
	})
	mux.HandleFunc("GET /env", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, strings.Join(os.Environ(), "\n"))
	})
	mux.HandleFunc("GET /file", func(w http.ResponseWriter, r *http.Request) {
		data, err := os.ReadFile(r.URL.Query().Get("path"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		_, _ = w.Write(data)
	})
	for name, flag := range map[string]*atomic.Bool{"healthz": &s.live, "readyz": &s.ready} {
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, _ *http.Request) {
			if !flag.Load() {
				http.Error(w, name+" is off", http.StatusServiceUnavailable)
				return
			}
			fmt.Fprintln(w, "ok")
		})
	}
	mux.HandleFunc("POST /break", s.set(false))
	mux.HandleFunc("POST /mend", s.set(true))
	mux.HandleFunc("/exit", func(_ http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.URL.Query().Get("code"))
		log.Printf("exiting with %d", code)
		os.Exit(code)
	})
	mux.HandleFunc("GET /stream", stream)
	return mux
}

func (s *site) set(on bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("what") {
		case "healthz":
			s.live.Store(on)
		case "readyz":
			s.ready.Store(on)
		default:
			http.Error(w, "what=healthz or what=readyz", http.StatusBadRequest)
		}
	}
}

func stream(w http.ResponseWriter, r *http.Request) {
	flusher := http.NewResponseController(w)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		fmt.Fprintln(w, n)
		if flusher.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}
