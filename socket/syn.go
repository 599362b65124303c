package socket

import (
	"encoding/binary"
	"fmt"
	"strings"
	"syscall"
)

// SYN is what a client's SYN says. A number that it does not say is -1.
type SYN struct {
	TTL     int    // as it arrived
	Window  int    // bytes, not scaled
	MSS     int    // the largest segment that the client takes, in bytes
	Scale   int    // by how many bits the client shifts its windows
	Options string // the kinds of its TCP options in their order: 2-4-8-1-3
}

// SavedSYN returns the SYN of an accepted connection, which the kernel returns once and
// then frees, or nil where the listening socket did not save it.
func SavedSYN(c syscall.Conn) *SYN {
	headers, _ := Get(c, savedSYN)
	if syn, ok := parseSYN([]byte(headers.Text)); ok {
		return &syn
	}
	return nil
}

// parseSYN reads the headers of IP and TCP.
func parseSYN(b []byte) (syn SYN, ok bool) {
	const ipv4Header, ipv6Header, tcpHeader, tcp = 20, 40, 20, 6
	syn = SYN{MSS: -1, Scale: -1}
	switch {
	case len(b) >= ipv4Header && b[0]>>4 == 4:
		syn.TTL = int(b[8])
		b = b[min(len(b), int(b[0]&0xf)*4):]
	case len(b) >= ipv6Header && b[0]>>4 == 6:
		syn.TTL = int(b[7])
		next := b[6]
		for b = b[ipv6Header:]; next != tcp && len(b) >= 8; { // headers before that of TCP
			next, b = b[0], b[min(len(b), int(b[1])*8+8):]
		}
	}
	if len(b) < tcpHeader {
		return syn, false
	}
	syn.Window = int(binary.BigEndian.Uint16(b[14:]))
	var kinds []string
	options := b[tcpHeader:max(tcpHeader, min(len(b), int(b[12]>>4)*4))]
	for len(options) > 0 && options[0] != 0 {
		kind, length := options[0], 1
		if kind != 1 { // that of one byte
			if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
				break
			}
			length = int(options[1])
		}
		switch {
		case kind == 2 && length == 4:
			syn.MSS = int(binary.BigEndian.Uint16(options[2:]))
		case kind == 3 && length == 3:
			syn.Scale = int(options[2])
		}
		kinds = append(kinds, fmt.Sprint(kind))
		options = options[length:]
	}
	syn.Options = strings.Join(kinds, "-")
	return syn, true
}
