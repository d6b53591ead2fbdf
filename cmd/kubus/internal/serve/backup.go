package serve

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"kubus.dev/cmd/kubus/internal/archive"
	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/roster"
	"kubus.dev/gateway"
	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/statelog"
	"kubus.dev/proto/store"
	"kubus.dev/services/kit"
)

// Backup writes all objects of an instance, as they are at one moment, and its keys. running:
// its store is reached on the bus; otherwise the data directory must be locked, and the
// store is started for the purpose.
func Backup(ctx context.Context, i *instance.Instance, running bool, w io.Writer, logger *zap.Logger) (archive.Head, error) {
	head := archive.Head{Version: kit.Version, Time: time.Now().UTC(), Instance: *i, Streams: map[string]archive.Stream{}}
	conn, closed, err := operator(ctx, i, running, logger)
	if err != nil {
		return head, err
	}
	defer closed()
	configs, err := roster.Configs(i)
	if err != nil {
		return head, err
	}
	views, end, err := viewsOf(ctx, configs[roster.GatewayName].(*gateway.Config).Signing, conn, logger)
	if err != nil {
		return head, err
	}
	defer end()
	if err := views.Trusted(ctx); err != nil {
		return head, err
	}
	cuts := map[string]statelog.Cut{}
	for _, s := range proto.StateStreams() {
		cut, err := views.Stream(s).Cut(ctx)
		if err != nil {
			return head, err
		}
		n := 0
		for _, objects := range cut.Resources {
			n += objects.Len()
		}
		cuts[s.Name], head.Streams[s.Name] = cut, archive.Stream{Revision: cut.Revision, Objects: n}
	}
	out, err := archive.NewWriter(w, head)
	if err != nil {
		return head, err
	}
	if err := writeFiles(i, out); err != nil {
		return head, err
	}
	for _, s := range proto.StateStreams() {
		for _, objects := range cuts[s.Name].Resources {
			objects.Ascend("", func(e *statelog.Entry) bool {
				k := e.Key()
				err = out.Object(archive.Object{Group: k.Group, Resource: k.Resource, Namespace: k.Namespace, Name: k.Name, Revision: e.Revision(), Stored: e.Stored().UTC(), Data: e.Data()})
				return err == nil
			})
			if err != nil {
				return head, err
			}
		}
	}
	return head, out.Close()
}

// operator connects to the store as its operator.
func operator(ctx context.Context, i *instance.Instance, running bool, logger *zap.Logger) (*bus.Conn, func(), error) {
	if running {
		conn, err := bus.Connect(ctx, bus.Options{URL: roster.BusURL(i), Name: store.OperatorRole.Name, NoWait: true,
			NkeySeedFile: roster.BusKey(i, store.OperatorRole.Name), CAFile: roster.BusCA(i), Logger: logger})
		if err != nil {
			return nil, nil, err
		}
		return conn, func() { _ = conn.Drain() }, nil
	}
	b, err := openBus(ctx, i, logger)
	if err != nil {
		return nil, nil, err
	}
	conn, err := b.connect(ctx, store.OperatorRole.Name)
	if err != nil {
		b.close()
		return nil, nil, err
	}
	return conn, b.close, nil
}

// kept are the parts of a data directory that a backup holds besides the log: the keys, and
// what the operator set.
var kept = []string{"pki", "settings.yaml"}

func writeFiles(i *instance.Instance, out *archive.Writer) error {
	for _, part := range kept {
		err := filepath.WalkDir(i.Path(part), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(i.Dir, path)
			if err != nil {
				return err
			}
			return out.File(archive.File{Path: filepath.ToSlash(name), Data: data})
		})
		if err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("reading what a backup keeps: %w", err)
		}
	}
	return nil
}

// RestoreFile writes a file of a backup into the data directory; only what a backup keeps.
func RestoreFile(i *instance.Instance, f archive.File) error {
	top, _, _ := strings.Cut(f.Path, "/")
	if !filepath.IsLocal(f.Path) || top != kept[0] && f.Path != kept[1] {
		return fmt.Errorf("the backup has a file %q, which is none of a cluster's", f.Path)
	}
	path := i.Path(filepath.FromSlash(f.Path))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return instance.WriteFile(path, f.Data, 0o600)
}

// ahead is by how much the sequences of a restored log are beyond those of the backup: the
// cluster may have gone on behind it, and no resourceVersion is given out again.
const ahead = 1 << 32

// writers is how many objects are written at a time.
const writers = 500

// Restore makes the log of an instance anew from a backup that was verified. Its store must
// have no log yet.
func Restore(ctx context.Context, i *instance.Instance, head archive.Head, r io.Reader, logger *zap.Logger) (err error) {
	conn, closed, err := operator(ctx, i, false, logger)
	if err != nil {
		return err
	}
	defer closed()
	configs, err := roster.Configs(i)
	if err != nil {
		return err
	}
	front := configs[roster.GatewayName].(*gateway.Config)
	for _, s := range proto.StateStreams() {
		if state, err := conn.StreamState(ctx, s.Name); err == nil {
			return fmt.Errorf("the store has a stream %s with %d messages already: a backup is restored into an empty one", s.Name, state.Messages)
		}
		if err := conn.BeginStream(ctx, s, front.Replicas, head.Streams[s.Name].Revision+ahead); err != nil {
			return err
		}
	}
	views, end, err := viewsOf(ctx, front.Signing, conn, logger)
	if err != nil {
		return err
	}
	defer end()
	group, ctx := errgroup.WithContext(ctx)
	log, err := statelog.OpenLog(ctx, conn, views, front.Replicas, logger)
	if err != nil {
		return err
	}
	if err := views.Ready(ctx); err != nil {
		return err
	}
	objects := make(chan archive.Object)
	for range writers {
		group.Go(func() error {
			for o := range objects {
				if err := restore(ctx, log, &o); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = archive.Read(r, archive.Visitor{Object: func(o archive.Object) error {
		select {
		case objects <- o:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}})
	close(objects)
	if werr := group.Wait(); werr != nil {
		return werr
	}
	return err
}

// restore writes one object. An Event whose time is over is none.
func restore(ctx context.Context, log *statelog.Log, o *archive.Object) error {
	w := statelog.Write{Key: o.Key(), Data: o.Data}
	if proto.StreamFor(w.Key.GroupResource).Name == proto.EventsStream.Name {
		if w.TTL = (statelog.EventTTL - time.Since(o.Stored)).Truncate(time.Second); w.TTL <= 0 {
			return nil
		}
	}
	if _, err := log.Commit(ctx, w); err != nil {
		return fmt.Errorf("restoring %s: %w", w.Key, err)
	}
	return nil
}
