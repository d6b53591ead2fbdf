package store

import (
	"fmt"

	"github.com/nats-io/nkeys"
)

// NewKey makes the nkey of a user: the seed to keep secret and the public key for User.
func NewKey() (seed []byte, public string, err error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return nil, "", fmt.Errorf("making a bus key: %w", err)
	}
	if seed, err = pair.Seed(); err != nil {
		return nil, "", fmt.Errorf("making a bus key: %w", err)
	}
	if public, err = pair.PublicKey(); err != nil {
		return nil, "", fmt.Errorf("making a bus key: %w", err)
	}
	return seed, public, nil
}

// PublicKey gives the public key of a seed.
func PublicKey(seed []byte) (string, error) {
	pair, err := nkeys.FromSeed(seed)
	if err != nil {
		return "", fmt.Errorf("reading a bus key: %w", err)
	}
	return pair.PublicKey()
}
