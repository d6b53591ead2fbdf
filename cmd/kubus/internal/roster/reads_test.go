package roster

import (
	"slices"
	"testing"

	"kubus.dev/proto"
	"kubus.dev/services/events"
)

// What a service asks of the log is in its code (Reads, Resources, Streams), what it gets
// in proto.Role: gateways let it read that, and the rest of the log it never sees.
func TestEachServiceMayReadOfTheLogWhatItAsksForAndNothingElse(t *testing.T) {
	t.Parallel()
	for _, s := range All() {
		o := s.Options(s.Defaults())
		may := proto.Reader(o.Name)
		if o.Store || o.NoLog {
			if len(may) > 0 {
				t.Errorf("%s reads nothing by gateways and may read %v", s.Name, may)
			}
			continue
		}
		if len(may) == 0 {
			t.Errorf("%s may read nothing", s.Name)
		}
		asks := slices.Concat(o.Resources, o.AtTimes)
		for _, gr := range asks {
			if !proto.May(may, proto.StreamFor(gr).Name, gr) {
				t.Errorf("%s asks for %s and may not read it", s.Name, gr)
			}
		}
		for _, read := range may {
			if len(asks) > 0 && len(read.Resources) == 0 {
				t.Errorf("%s asks for %v and may read all of %s", s.Name, asks, read.Stream)
			}
			for _, gr := range read.Resources {
				if !slices.Contains(asks, gr) {
					t.Errorf("%s may read %s and does not ask for it", s.Name, gr)
				}
			}
		}
	}
	for _, stream := range events.Default().Streams {
		if !slices.ContainsFunc(proto.Reader("events"), func(r proto.Read) bool { return r.Stream == stream }) {
			t.Errorf("events announces %s and may not read it", stream)
		}
	}
}
