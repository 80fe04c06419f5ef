package tlscore

import "crypto/tls"

// Shape is what a hello looks like to what stands between client and server: which extensions, in which order, how
// many bytes. What it offers, the client can do.
type Shape struct {
	// Name of the shape in reports.
	Name string
	// Suites are the cipher suites, in order.
	Suites []uint16
	// Groups are the groups of the key exchange, in order, and Shares those with a key share in the hello.
	Groups, Shares []tls.CurveID
	// Signatures are the signature schemes, in order.
	Signatures []tls.SignatureScheme
	// Extensions in order. Those that depend on the conn are left out where there is nothing to say in them; padding,
	// early_data, cookie and pre_shared_key come last in any case.
	Extensions []Extension
	// Shuffle draws the order of the extensions anew for each conn, as Chromium does.
	Shuffle bool
	// Grease sends values that mean nothing among the suites, groups, versions and extensions, RFC 8701.
	Grease bool
}

// Extension is one extension of a shape. Body is sent for those that the client does not make itself, with so many random
// bytes behind it. For encrypted_client_hello Body is the KDF and AEAD that it pretends to have been made with, and Random
// the bytes of its payload.
type Extension struct {
	ID     uint16
	Body   []byte
	Random int
}

// Plain returns the shape of a client that sends what it needs and nothing else.
func Plain() *Shape {
	return &Shape{
		Name:   "plain",
		Suites: suitesThat(false),
		Groups: []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384},
		Shares: []tls.CurveID{tls.X25519},
		Signatures: []tls.SignatureScheme{
			tls.ECDSAWithP256AndSHA256, tls.PSSWithSHA256, tls.PKCS1WithSHA256, tls.Ed25519,
			tls.ECDSAWithP384AndSHA384, tls.PSSWithSHA384, tls.PKCS1WithSHA384,
			tls.ECDSAWithP521AndSHA512, tls.PSSWithSHA512, tls.PKCS1WithSHA512,
		},
		Extensions: []Extension{
			{ID: extensionServerName},
			{ID: extensionGroups},
			{ID: extensionPointFormats},
			{ID: extensionSignatures},
			{ID: extensionALPN},
			{ID: extensionExtendedMaster},
			{ID: extensionSessionTicket},
			{ID: extensionSupportedVersions},
			{ID: extensionPSKModes},
			{ID: extensionKeyShare},
			{ID: extensionRenegotiation},
		},
	}
}
