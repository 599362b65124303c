//go:build linux

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// What every server serves.
const (
	starsPath = "/stars.txt" // the payload of 2009
	largePath = "/large.bin"
)

var stars = bytes.Repeat([]byte("*"), 10_000)

// site is what every server serves, and with what certificate.
type site struct {
	dir         string
	large       int    // bytes of the large file
	certificate string // file with a certificate and its key
	roots       *x509.CertPool
}

func newSite(dir string, large int) (*site, error) {
	s := &site{dir: dir, large: large, certificate: filepath.Join(dir, "..", "certificate.pem"), roots: x509.NewCertPool()}
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // servers that drop root's rights read it
		return nil, err
	}
	for path, text := range map[string][]byte{
		starsPath: stars,
		largePath: bytes.Repeat([]byte("0123456789abcdef"), large/16),
	} {
		err := os.WriteFile(filepath.Join(dir, path), text, 0o644) //nolint:gosec // as above
		if err != nil {
			return nil, err
		}
	}
	return s, s.certify()
}

// certify makes a certificate for the addresses of the run.
func (s *site) certify() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.ParseIP(loopbackHost), net.ParseIP(farHost)},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	text := append(
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	s.roots.AppendCertsFromPEM(text)
	return os.WriteFile(s.certificate, text, 0o600)
}
