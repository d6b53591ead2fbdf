package iptables

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// nonRecursive makes the kernel refuse to delete what is not empty (NLM_F_NONREC).
const nonRecursive = 0x100

// deleteTable removes a table of family ip and its empty base chains from
// nf_tables. The kernel refuses what is not empty; that is no error, since then
// somebody else has come to use the table, and a rule added meanwhile is safe.
func deleteTable(table string, baseChains []string) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("opening a netlink socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}); err != nil {
		return fmt.Errorf("setting a timeout: %w", err)
	}
	for _, chain := range baseChains {
		err := transact(fd, unix.NFT_MSG_DELCHAIN,
			attribute{unix.NFTA_CHAIN_TABLE, table}, attribute{unix.NFTA_CHAIN_NAME, chain})
		// iptables-save shows base chains that the kernel does not have.
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("chain %s: %w", chain, err)
		}
	}
	err = transact(fd, unix.NFT_MSG_DELTABLE, attribute{unix.NFTA_TABLE_NAME, table})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EBUSY) {
		return nil
	}
	return err
}

// transact sends one message as a transaction of its own and waits for its answer.
func transact(fd int, message uint16, attributes ...attribute) error {
	var b batch
	b.message(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
	b.message(unix.NFNL_SUBSYS_NFTABLES<<8|message, nonRecursive|unix.NLM_F_ACK, unix.AF_INET, 0, attributes...)
	b.message(unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
	if err := unix.Sendto(fd, b.data, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("sending to nf_tables: %w", err)
	}
	return answer(fd)
}

// answer reads one acknowledgement or error.
func answer(fd int) error {
	buf := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return fmt.Errorf("waiting for nf_tables: %w", err)
	}
	if n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(buf[4:]) != unix.NLMSG_ERROR {
		return errors.New("nf_tables gave an answer of another kind")
	}
	if code := int32(binary.NativeEndian.Uint32(buf[unix.SizeofNlMsghdr:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

type attribute struct {
	kind uint16
	text string
}

// batch builds netlink messages of the netfilter kind, numbered from 1.
type batch struct {
	data []byte
	seq  uint32
}

func (b *batch) message(kind, flags uint16, family uint8, resource uint16, attributes ...attribute) {
	start := len(b.data)
	b.seq++
	b.data = binary.NativeEndian.AppendUint32(b.data, 0) // length, below
	b.data = binary.NativeEndian.AppendUint16(b.data, kind)
	b.data = binary.NativeEndian.AppendUint16(b.data, flags|unix.NLM_F_REQUEST)
	b.data = binary.NativeEndian.AppendUint32(b.data, b.seq)
	b.data = binary.NativeEndian.AppendUint32(b.data, 0)
	b.data = append(b.data, family, unix.NFNETLINK_V0)
	b.data = binary.BigEndian.AppendUint16(b.data, resource)
	for _, a := range attributes {
		b.data = binary.NativeEndian.AppendUint16(b.data, uint16(4+len(a.text)+1))
		b.data = binary.NativeEndian.AppendUint16(b.data, a.kind)
		b.data = append(append(b.data, a.text...), 0)
		for len(b.data)%4 != 0 {
			b.data = append(b.data, 0)
		}
	}
	binary.NativeEndian.PutUint32(b.data[start:], uint32(len(b.data)-start))
}
