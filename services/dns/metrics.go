package dns

import (
	"errors"
	"fmt"

	mdns "github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// counts are the answers by transport and code; the counters are looked up once.
type counts struct {
	answered [2][16]prometheus.Counter
	dropped  [2]prometheus.Counter
	stranger [2]prometheus.Counter
}

func newCounts(registry prometheus.Registerer) (*counts, error) {
	answered := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kubus_dns_responses_total", Help: "Answers given, by transport and response code."}, []string{"proto", "rcode"})
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kubus_dns_dropped_total", Help: "Packets and connections that got no answer."}, []string{"proto"})
	stranger := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kubus_dns_strangers_total", Help: "Packets and connections of those who are neither pods nor nodes."}, []string{"proto"})
	var err error
	if registry != nil {
		if answered, err = register(registry, answered); err != nil {
			return nil, err
		}
		if dropped, err = register(registry, dropped); err != nil {
			return nil, err
		}
		if stranger, err = register(registry, stranger); err != nil {
			return nil, err
		}
	}
	c := &counts{}
	for i, transport := range []string{"udp", "tcp"} {
		for code := range c.answered[i] {
			text := mdns.RcodeToString[code]
			if text == "" {
				text = "other"
			}
			c.answered[i][code] = answered.WithLabelValues(transport, text)
		}
		c.dropped[i] = dropped.WithLabelValues(transport)
		c.stranger[i] = stranger.WithLabelValues(transport)
	}
	return c, nil
}

// register gives the collector, or the one that is there already: several
// servers of one process share it.
func register(registry prometheus.Registerer, c *prometheus.CounterVec) (*prometheus.CounterVec, error) {
	err := registry.Register(c)
	var there prometheus.AlreadyRegisteredError
	if errors.As(err, &there) {
		if existing, ok := there.ExistingCollector.(*prometheus.CounterVec); ok {
			return existing, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	return c, nil
}

func (c *counts) Answered(tcp bool, code int) { c.answered[index(tcp)][code&15].Inc() }
func (c *counts) Dropped(tcp bool)            { c.dropped[index(tcp)].Inc() }
func (c *counts) Stranger(tcp bool)           { c.stranger[index(tcp)].Inc() }

func index(tcp bool) int {
	if tcp {
		return 1
	}
	return 0
}
