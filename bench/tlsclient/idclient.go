package tlsclient

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"hash"
	"net"
	"time"
)

// IDClient resumes by TLS 1.2 session ID, which crypto/tls has no client for: TLS 1.2 (RFC 5246) with
// ECDHE key exchange (RFC 8422), AES-128-GCM (RFC 5288) and the extended master secret (RFC 7627)
// where the server has it. It offers no session ticket. It is not safe for concurrent use.
type IDClient struct {
	serverName string
	roots      *x509.CertPool
	source     func() *net.TCPAddr
	id         []byte // session to offer, empty without one
	master     []byte // its master secret
	extended   bool   // and whether that is an extended one: a resumption must say the same
}

// NewID returns a client without a session. Config.Version is not looked at.
func NewID(cfg Config) *IDClient {
	c := &IDClient{serverName: cfg.ServerName, roots: cfg.Roots, source: cfg.Source}
	if c.source == nil {
		c.source = RandomLoopback
	}
	return c
}

// ID returns the session ID the client would offer next, empty without one.
func (c *IDClient) ID() []byte { return c.id }

// Forget drops the session, so that the next conn is a fresh handshake.
func (c *IDClient) Forget() { c.id, c.master = nil, nil }

// Hello returns the bytes of a ClientHello that offers the session, record header included.
func (c *IDClient) Hello() ([]byte, error) {
	var random [32]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, fmt.Errorf("tlsclient: draw random: %w", err)
	}
	return appendRecord(nil, recordHandshake, clientHello(random[:], c.id, c.serverName)), nil
}

// Get makes one conn to addr, sends a request and reads the answer to its end.
func (c *IDClient) Get(ctx context.Context, addr string) (Result, error) {
	res := Result{Offered: len(c.id) > 0, Version: tls.VersionTLS12}
	start := time.Now()
	raw, err := Dial(ctx, c.source(), addr)
	if err != nil {
		return res, err
	}
	defer func() { _ = raw.Close() }() // the answer has been read by then
	h := &handshake{client: c, conn: newRecordConn(raw), transcript: sha256.New()}
	if err := h.run(); err != nil {
		return res, fmt.Errorf("tlsclient: handshake: %w", err)
	}
	res.Handshake = time.Since(start)
	res.Resumed = h.resumed
	res.Backend, err = exchange(h.conn)
	return res, err
}

// handshake is one handshake in progress.
type handshake struct {
	client       *IDClient
	conn         *recordConn
	transcript   hash.Hash // over all handshake messages so far, RFC 5246 section 7.4.9
	clientRandom []byte
	server       serverHello
	master       []byte
	resumed      bool
}

// run goes through a full or an abbreviated handshake, RFC 5246 section 7.3, and keeps the session.
func (h *handshake) run() error {
	c := h.client
	h.clientRandom = make([]byte, 32)
	if _, err := rand.Read(h.clientRandom); err != nil {
		return fmt.Errorf("draw random: %w", err)
	}
	if err := h.send(clientHello(h.clientRandom, c.id, c.serverName)); err != nil {
		return err
	}
	body, err := h.receive(typeServerHello)
	if err != nil {
		return err
	}
	if err := h.server.parse(body); err != nil {
		return err
	}
	h.resumed = len(c.id) > 0 && bytes.Equal(h.server.sessionID, c.id)
	if !h.resumed {
		c.Forget()
		return h.full()
	}
	if h.server.extended != c.extended {
		return errors.New("the server resumes with another kind of master secret") // RFC 7627 section 5.3
	}
	h.master = c.master
	if err := h.finishedFromServer(); err != nil {
		return err
	}
	return h.finishedFromClient()
}

// full is the rest of a full handshake, behind the ServerHello.
func (h *handshake) full() error {
	body, err := h.receive(typeCertificate)
	if err != nil {
		return err
	}
	leaf, err := verifyChain(body, h.client.roots, h.client.serverName)
	if err != nil {
		return err
	}
	if body, err = h.receive(typeServerKeyExchange); err != nil {
		return err
	}
	share, err := verifyKeyExchange(body, leaf, h.clientRandom, h.server.random)
	if err != nil {
		return err
	}
	if _, err = h.receive(typeServerHelloDone); err != nil {
		return err
	}
	if err := h.exchangeKeys(share); err != nil {
		return err
	}
	if err := h.finishedFromClient(); err != nil {
		return err
	}
	if err := h.finishedFromServer(); err != nil {
		return err
	}
	c := h.client
	c.id, c.master, c.extended = h.server.sessionID, h.master, h.server.extended
	return nil
}

// exchangeKeys answers the server's share with ours and derives the master secret.
func (h *handshake) exchangeKeys(share []byte) error {
	theirs, err := ecdh.P256().NewPublicKey(share)
	if err != nil {
		return fmt.Errorf("the server's key share: %w", err)
	}
	ours, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make key share: %w", err)
	}
	premaster, err := ours.ECDH(theirs)
	if err != nil {
		return fmt.Errorf("agree on a key: %w", err)
	}
	if err := h.send(message(typeClientKeyExchange, appendVector8(nil, ours.PublicKey().Bytes()))); err != nil {
		return err
	}
	if h.server.extended {
		h.master = prf(premaster, "extended master secret", h.transcript.Sum(nil), masterBytes) // RFC 7627 section 4
		return nil
	}
	h.master = prf(premaster, "master secret", join(h.clientRandom, h.server.random), masterBytes)
	return nil
}

// finishedFromClient sends ChangeCipherSpec and Finished.
func (h *handshake) finishedFromClient() error {
	verify := prf(h.master, "client finished", h.transcript.Sum(nil), verifyBytes)
	if err := h.conn.changeWrite(h.master, h.clientRandom, h.server.random); err != nil {
		return err
	}
	return h.send(message(typeFinished, verify))
}

// finishedFromServer reads ChangeCipherSpec and Finished.
func (h *handshake) finishedFromServer() error {
	if err := h.conn.changeRead(h.master, h.clientRandom, h.server.random); err != nil {
		return err
	}
	want := prf(h.master, "server finished", h.transcript.Sum(nil), verifyBytes)
	got, err := h.receive(typeFinished)
	if err != nil {
		return err
	}
	if !hmac.Equal(got, want) {
		return errors.New("the server's Finished does not match the transcript")
	}
	return nil
}

func (h *handshake) send(msg []byte) error {
	h.transcript.Write(msg)
	return h.conn.writeRecord(recordHandshake, msg)
}

// receive returns the body of the next handshake message, which must be of the given type.
func (h *handshake) receive(want byte) ([]byte, error) {
	msg, err := h.conn.readMessage()
	if err != nil {
		return nil, err
	}
	if msg[0] != want {
		return nil, fmt.Errorf("handshake message %d where %d was due", msg[0], want)
	}
	h.transcript.Write(msg)
	return msg[4:], nil
}
