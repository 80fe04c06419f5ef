package integration

import (
	"testing"

	"homing/bench/testkit"
)

// TestIntegrationPageShortages: the page heads with what clients are short of, and says all of why a backend is down.
func TestIntegrationPageShortages(t *testing.T) {
	needChromium(t)
	h := startHoming(t, []string{testkit.FreeAddr(t), testkit.FreeAddr(t)}, "--check-interval", "200ms", "--probe", "off")
	h.tells(t, "default", "", "no_backend", 0)
	p := openPage(t, h.admin)
	p.await("what is short, and what to do",
		`!document.querySelector("#shortages").hidden && /pool default, no backend:.*none of its 2 backends is up.*homing status/.test(document.querySelector("#short li").textContent)`)
	p.await("the title says so", `document.title.startsWith("! ")`)
	why := `[...document.querySelectorAll("#pools tbody tr")].every(r => {
		const why = r.querySelector("small");
		return why.textContent.includes("connection refused") && r.title === why.textContent && why.scrollWidth <= why.clientWidth && why.parentElement.scrollWidth <= why.parentElement.clientWidth;
	})`
	p.await("each backend says why, whole", why)
	for _, width := range []int64{1400, 500} {
		p.picture("short", width, false)
		p.await("so it does when it is narrow", why)
	}
	if len(p.complaints) > 0 {
		t.Errorf("the browser complains: %v", p.complaints)
	}
}
