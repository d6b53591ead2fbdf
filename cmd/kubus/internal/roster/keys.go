package roster

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/proto/cluster"
)

// KeyNames lists what the keys of the instance's clients on the bus are called.
func KeyNames(i *instance.Instance) []string {
	var names []string
	for _, r := range Roles(i) {
		names = append(names, KeyName(r.Client()))
	}
	return names
}

// FindKeys gives those of KeyNames that a word means: the name itself, or what all names of
// several clients begin with: agent for agent-NODE, controllers for controllers-GROUP.
func FindKeys(i *instance.Instance, word string) []string {
	var found []string
	for _, name := range KeyNames(i) {
		if name == word {
			return []string{name}
		}
		if strings.HasPrefix(name, word+"-") {
			found = append(found, name)
		}
	}
	return found
}

// Keys stands for the contents of the files with keys that a service reads when it starts,
// other than which it is the same process.
func (s Service) Keys(cfg any) ([]byte, error) {
	o := s.Options(cfg)
	var files []string
	for _, part := range append([]cluster.Options{o}, o.Parts...) {
		files = append(files, part.NkeySeedFile, part.CAFile, part.SigningKeyFile)
	}
	return digest(files)
}

// StoreKeys is the same for the separate store.
func StoreKeys(i *instance.Instance) ([]byte, error) {
	return digest([]string{i.PKI("bus.crt"), i.PKI("bus.key")})
}

// AllKeys is the same for the process that does everything.
func AllKeys(i *instance.Instance) ([]byte, error) {
	files, err := filepath.Glob(i.PKI("bus/*.nk"))
	if err != nil {
		return nil, err
	}
	return digest(append(files, i.PKI("bus.crt"), i.PKI("bus.key"), i.PKI("bus-ca.crt"), i.PKI("log.key"), BusCA(i), BusKey(i, "gateway")))
}

// digest stands for the contents of files; "" is none.
func digest(files []string) ([]byte, error) {
	slices.Sort(files)
	sum := sha256.New()
	for _, file := range slices.Compact(files) {
		if file == "" {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading a key: %w", err)
		}
		fmt.Fprintf(sum, "%q %x\n", file, sha256.Sum256(data))
	}
	return sum.Sum(nil), nil
}
