package pki

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"kubus.dev/proto/store"
	"kubus.dev/services/kit/file"
)

// RotateClients makes new keys for clients of the bus. Each file is replaced in one step:
// whoever reads one meanwhile has the old key or the new one. What the old one opens it
// opens until the bus has read the new one.
func RotateClients(dir string, clients []string) error {
	for _, client := range clients {
		seed, _, err := store.NewKey()
		if err != nil {
			return err
		}
		if err := replace(filepath.Join(dir, "bus", client+".nk"), append(seed, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// DropBusCertificate takes the bus's certificate away, and with authority also who vouches
// for it, so that Ensure makes new ones. Certificates go before their keys: one without a
// key would be an error to Ensure.
func DropBusCertificate(dir string, authority bool) error {
	files := []string{"bus.crt", "bus.key"}
	if authority {
		files = append(files, "bus-ca.crt", "bus-ca.key")
	}
	for _, file := range files {
		if err := os.Remove(filepath.Join(dir, file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the bus's certificate: %w", err)
		}
	}
	return file.SyncFolder(dir)
}

// AddLogKey makes a new key that signs the log the first, before those that are believed
// still: what they signed has to be signed anew before ForgetLogKeys.
func AddLogKey(dir string) error {
	file := filepath.Join(dir, "log.key")
	older, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading the keys of the log: %w", err)
	}
	key, err := newLogKey()
	if err != nil {
		return fmt.Errorf("making the key %s: %w", file, err)
	}
	return replace(file, append(key, older...))
}

// ForgetLogKeys keeps the first of the keys of the log.
func ForgetLogKeys(dir string) error {
	file := filepath.Join(dir, "log.key")
	keys, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading the keys of the log: %w", err)
	}
	first, _, _ := bytes.Cut(bytes.TrimSpace(keys), []byte("\n"))
	return replace(file, append(bytes.TrimSpace(first), '\n'))
}
