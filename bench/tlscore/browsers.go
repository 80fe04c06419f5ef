package tlscore

import "crypto/tls"

// The shape of a browser is taken from a recorded hello. Left out is what the client could not do if the server took it
// at its word: SHA-1, 3DES, P-521, finite fields, delegated credentials; and certificates are compressed with zlib, whatever the
// browser would have.

// Chrome returns the shape of Chromium 133: 1.7 kB with a post-quantum key share, the extensions in another order each
// time.
func Chrome() *Shape {
	return &Shape{
		Name: "chrome",
		Suites: append(suitesThat(false),
			tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
			tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA,
		),
		Groups: []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256, tls.CurveP384},
		Shares: []tls.CurveID{tls.X25519MLKEM768, tls.X25519},
		Signatures: []tls.SignatureScheme{
			tls.ECDSAWithP256AndSHA256, tls.PSSWithSHA256, tls.PKCS1WithSHA256, tls.ECDSAWithP384AndSHA384,
			tls.PSSWithSHA384, tls.PKCS1WithSHA384, tls.PSSWithSHA512, tls.PKCS1WithSHA512,
		},
		Extensions: []Extension{
			{ID: extensionCompressCert, Body: []byte{2, 0, zlibCertificates}},
			{ID: extensionExtendedMaster},
			{ID: extensionKeyShare},
			{ID: extensionECH, Body: []byte{0, 1, 0, 1}, Random: 144},
			{ID: extensionServerName},
			{ID: extensionApplication, Body: []byte{0, 3, 2, 'h', '2'}},
			{ID: extensionALPN},
			{ID: extensionSessionTicket},
			{ID: extensionRenegotiation},
			{ID: extensionSignatures},
			{ID: extensionSCT},
			{ID: extensionPSKModes},
			{ID: extensionPointFormats},
			{ID: extensionSupportedVersions},
			{ID: extensionStatusRequest, Body: []byte{1, 0, 0, 0, 0}},
			{ID: extensionGroups},
		},
		Shuffle: true,
		Grease:  true,
	}
}
