package forward

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// checkAge is how old the knowledge of a file may be when a question comes.
const checkAge = 5 * time.Second

// servers is the list of whom to ask.
type servers struct {
	sources []string
	not     map[string]bool

	mu       sync.Mutex // guards what follows
	list     []string   // host:port
	first    string     // who answered last
	checked  time.Time
	modified map[string]time.Time
}

func newServers(sources, not []string) *servers {
	s := &servers{sources: sources, not: map[string]bool{}, modified: map[string]time.Time{}}
	for _, address := range not {
		s.not[address] = true
	}
	return s
}

func (s *servers) configured() bool { return len(s.sources) > 0 }

// inOrder gives whom to ask one after another.
func (s *servers) inOrder(now time.Time) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.checked) > checkAge {
		s.checked = now
		if s.changed() {
			s.read()
		}
	}
	out := make([]string, 0, len(s.list))
	if slices.Contains(s.list, s.first) {
		out = append(out, s.first)
	}
	for _, server := range s.list {
		if server != s.first {
			out = append(out, server)
		}
	}
	return out
}

func (s *servers) good(server string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.first = server
}

// changed tells whether the list must be made anew.
func (s *servers) changed() bool {
	changed := s.list == nil
	for _, source := range s.sources {
		if !isFile(source) {
			continue
		}
		var modified time.Time
		if info, err := os.Stat(source); err == nil {
			modified = info.ModTime()
		}
		if !modified.Equal(s.modified[source]) {
			s.modified[source] = modified
			changed = true
		}
	}
	return changed
}

func (s *servers) read() {
	s.list = []string{}
	for _, source := range s.sources {
		if !isFile(source) {
			s.add(source, "53")
			continue
		}
		cfg, err := dns.ClientConfigFromFile(source)
		if err != nil {
			continue // not there: nobody named in it
		}
		for _, server := range cfg.Servers {
			s.add(server, cfg.Port)
		}
	}
}

func (s *servers) add(server, port string) {
	if _, _, err := net.SplitHostPort(server); err != nil {
		server = net.JoinHostPort(strings.Trim(server, "[]"), port)
	}
	if !s.not[server] && !slices.Contains(s.list, server) {
		s.list = append(s.list, server)
	}
}

func isFile(source string) bool { return strings.Contains(source, "/") }

// Check says what is wrong with an entry of a configuration; a file that is not
// there yet is allowed.
func Check(source string) bool {
	if isFile(source) {
		return true
	}
	host := source
	if h, _, err := net.SplitHostPort(source); err == nil {
		host = h
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}
