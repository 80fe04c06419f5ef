package integration

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"homing/bench/testkit"
)

// TestIntegrationPageToken: where a token is asked for, the page shows nothing before it has one, says so once, and asks.
func TestIntegrationPageToken(t *testing.T) {
	needChromium(t)
	c := newCrowd(t, 3, 0)
	const token, wrong = "a-token-of-this-test-only", "another-token-of-this-test"
	file := filepath.Join(t.TempDir(), "token")
	testkit.Check(t, os.WriteFile(file, []byte(token+"\n"), 0o600))
	h := startHoming(t, c.addrs, "--tls", "off", "--admin-token-file", file)
	p := openPage(t, h.admin)
	p.await("it asks for a token", `$("login").checkVisibility() && $("fresh").textContent.includes("who asks is not known")`)
	p.js(`window.said = 0; new MutationObserver(() => said++).observe(document.querySelector("header [role=status]"), {childList: true, characterData: true, subtree: true}); 0`, nil)
	type tried struct{ Rows, Said int }
	var now tried
	p.do(chromedp.SetValue("#token", wrong), chromedp.Focus("#token"), chromedp.KeyEvent(kb.Enter))
	p.await("it has asked again, twice", `performance.getEntriesByName(location.href + "v1/status").length >= 3`)
	if p.js(`({Rows: document.querySelectorAll("#pools tr, #events li").length, Said: said})`, &now); now != (tried{}) {
		t.Errorf("without a token the page shows %d rows, and has said the same %d times more", now.Rows, now.Said)
	}
	p.do(chromedp.SetValue("#token", token), chromedp.Focus("#token"), chromedp.KeyEvent(kb.Enter))
	p.await("with the token it shows the backends",
		`document.querySelectorAll("#pools tbody tr").length === 3 && !$("login").checkVisibility() && $("fresh").textContent === "live"`)
}
