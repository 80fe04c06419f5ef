package admin

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"strings"
)

// The status page: a document, its style and its script, which become one. The script asks the API every second and
// changes what has changed; it keeps the samples of the history and nothing else.
var (
	//go:embed page/page.html
	pageHTML string
	//go:embed page/page.css
	pageCSS string
	//go:embed page/page.js
	pageJS string
	//go:embed page/charts.js
	chartsJS string
	//go:embed page/backends.js
	backendsJS string
)

// page serves the status page. It holds nothing that is worth a token: its script asks the API, with the token that it
// is given. The policy lets exactly this style and this script run, and nothing be fetched from elsewhere.
func page(*Server) http.Handler {
	script := pageJS + chartsJS + backendsJS
	text := strings.Replace(strings.Replace(pageHTML, "/*STYLE*/", pageCSS, 1), "/*SCRIPT*/", script, 1)
	policy := "default-src 'none'; style-src-elem " + hashOf(pageCSS) + "; style-src-attr 'unsafe-inline'" +
		"; script-src " + hashOf(script) +
		"; connect-src 'self'; img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(text)) // the client that left does not want it
	})
}

// hashOf names an inline source in a content security policy.
func hashOf(source string) string {
	sum := sha256.Sum256([]byte(source))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
