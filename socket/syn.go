package socket

// SYN is what a client's SYN says. A number that it does not say is -1.
type SYN struct {
	TTL     int    // as it arrived
	Window  int    // bytes, not scaled
	MSS     int    // the largest segment that the client takes, in bytes
	Scale   int    // by how many bits the client shifts its windows
	Options string // the kinds of its TCP options in their order: 2-4-8-1-3
}
