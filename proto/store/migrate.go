package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"kubus.dev/proto"
)

// Migrate brings the streams of a directory that is from before there were accounts into
// the accounts that keep them now. It does so once, and before a server runs on it.
func Migrate(dir string) error {
	root := filepath.Join(dir, "jetstream")
	old := filepath.Join(root, "$G")
	for account, streams := range map[string][]string{
		proto.LogAccount: names(proto.StateStreams()), "automation": {proto.ChangesStream.Name},
	} {
		for _, stream := range streams {
			to := filepath.Join(root, account, "streams", stream)
			if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
				continue // there is one already, or no telling
			}
			if _, err := os.Stat(filepath.Join(old, "streams", stream)); errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
				return fmt.Errorf("store: moving stream %s to its account: %w", stream, err)
			}
			if err := os.Rename(filepath.Join(old, "streams", stream), to); err != nil {
				return fmt.Errorf("store: moving stream %s to its account: %w", stream, err)
			}
		}
	}
	return nil
}

func names(streams []proto.Stream) []string {
	out := make([]string, len(streams))
	for i, s := range streams {
		out[i] = s.Name
	}
	return out
}
