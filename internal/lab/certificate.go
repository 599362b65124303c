package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Certificate is a certificate that signs itself.
type Certificate struct {
	File  string         // the certificate and its key, for Caddy's tls directive, nginx and HAProxy
	Roots *x509.CertPool // what a client trusts
}

// NewCertificate makes a certificate for localhost, example.com, 127.0.0.1, ::1 and
// further addresses, and writes it into dir.
func NewCertificate(dir string, addrs ...string) (*Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		DNSNames:              []string{"localhost", "example.com"},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	for _, addr := range append([]string{Loopback, "::1"}, addrs...) {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(addr))
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := append(
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	c := &Certificate{File: filepath.Join(dir, "certificate.pem"), Roots: x509.NewCertPool()}
	c.Roots.AppendCertsFromPEM(text)
	return c, os.WriteFile(c.File, text, 0o600)
}

// Certify is NewCertificate for a test.
func Certify(t testing.TB) *Certificate {
	t.Helper()
	c, err := NewCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return c
}
