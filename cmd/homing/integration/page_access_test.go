package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// axNode is what a screen reader is told of one thing.
type axNode struct {
	role, name string
	properties map[string]string
	children   []*axNode
}

// axValue is a value of the protocol, of whatever kind.
type axValue struct {
	Value any `json:"value"`
}

func (v axValue) String() string {
	if v.Value == nil {
		return ""
	}
	return strings.TrimSpace(fmt.Sprint(v.Value))
}

// axAnswer is as much of the protocol's answer as matters. Chromium knows more names than cdproto, which refuses them.
type axAnswer struct {
	Nodes []struct {
		NodeID     string   `json:"nodeId"`
		Ignored    bool     `json:"ignored"`
		Role       axValue  `json:"role"`
		Name       axValue  `json:"name"`
		ChildIDs   []string `json:"childIds"`
		Properties []struct {
			Name  string  `json:"name"`
			Value axValue `json:"value"`
		} `json:"properties"`
	} `json:"nodes"`
}

// tree is the accessibility tree of the page, without what is ignored.
func (p *browserPage) tree() (all []*axNode) {
	p.Helper()
	var answer axAnswer
	p.do(chromedp.ActionFunc(func(ctx context.Context) error {
		return cdp.Execute(ctx, "Accessibility.getFullAXTree", nil, &answer)
	}))
	known, children := map[string]*axNode{}, map[string][]string{}
	for _, n := range answer.Nodes {
		children[n.NodeID] = n.ChildIDs
		if n.Ignored {
			continue
		}
		one := &axNode{role: n.Role.String(), name: n.Name.String(), properties: map[string]string{}}
		for _, property := range n.Properties {
			one.properties[property.Name] = property.Value.String()
		}
		known[n.NodeID] = one
		all = append(all, one)
	}
	for id, one := range known {
		one.children = below(id, children, known)
	}
	return all
}

// below is the children of a node; what is ignored stands for its own.
func below(id string, children map[string][]string, known map[string]*axNode) (list []*axNode) {
	for _, child := range children[id] {
		if one := known[child]; one != nil {
			list = append(list, one)
		} else {
			list = append(list, below(child, children, known)...)
		}
	}
	return list
}

func (n *axNode) all(role string) (list []*axNode) {
	for _, child := range n.children {
		if child.role == role {
			list = append(list, child)
		} else {
			list = append(list, child.all(role)...)
		}
	}
	return list
}

// named are the roles that mean nothing without a name.
var named = []string{
	"button", "textbox", "searchbox", "combobox", "checkbox", "radio", "spinbutton", "link", "table", "image", "img", "region", "dialog",
	"columnheader", "rowheader", "heading", "DisclosureTriangle", "RootWebArea", "group", "option", "MenuListOption",
}

// heard checks what a screen reader finds.
func (p *browserPage) heard(when string, tables int) {
	p.Helper()
	all := p.tree()
	count := map[string]int{}
	for _, n := range all {
		count[n.role]++
		if slices.Contains(named, n.role) && n.name == "" {
			p.Errorf("%s: a %s without a name: %v, in it %d others", when, n.role, n.properties, len(n.children))
		}
		if live := n.properties["live"]; live != "" && live != "off" && live != "polite" && n.role != "alert" {
			p.Errorf("%s: a live region of role %s is %s", when, n.role, live)
		}
		if n.role != "table" {
			continue
		}
		heads := len(n.all("columnheader"))
		rows := n.all("row")
		if heads < 4 || len(rows) < 2 {
			p.Errorf("%s: table %q has %d headers of columns and %d rows", when, n.name, heads, len(rows))
		}
		for _, row := range rows[min(1, len(rows)):] {
			if cells := len(row.all("cell")); len(row.all("rowheader")) != 1 || cells > heads-1 {
				p.Errorf("%s: a row of table %q has %d headers and %d cells below %d headers of columns", when, n.name,
					len(row.all("rowheader")), cells, heads)
			}
		}
	}
	if count["table"] != tables || count["main"] != 1 || count["banner"] != 1 || count["status"] < 2 || count["image"]+count["img"] < 4 {
		p.Errorf("%s: of each role there are %v, want %d tables", when, count, tables)
	}
}

// contrast lists the texts that are too faint: below 4.5 to 1 (WCAG 2.2, Success Criterion 1.4.3).
const contrast = `(() => {
	const parse = c => { const m = c.match(/[\d.]+/g).map(Number); return {r: m[0], g: m[1], b: m[2], a: m[3] === undefined ? 1 : m[3]}; };
	const light = c => { const f = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; return 0.2126 * f(c.r) + 0.7152 * f(c.g) + 0.0722 * f(c.b); };
	const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.a === 1) return c; if (c.a > 0) throw "half transparent"; } return {r: 255, g: 255, b: 255}; };
	const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((m, n) => n - m); return (x + 0.05) / (y + 0.05); };
	const faint = []; let looked = 0, least = 21;
	const see = (e, color, what) => { const r = ratio(parse(color), behind(e)); looked++; least = Math.min(least, r); if (r < 4.5) faint.push(what + " " + r.toFixed(2)); };
	for (const e of document.body.querySelectorAll("*")) {
		if (!e.checkVisibility() || e.closest("svg, script, style")) continue;
		if ([...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || e.tagName === "SELECT") see(e, getComputedStyle(e).color, e.tagName + " " + e.textContent.trim().slice(0, 30));
		if (e.dataset.label) see(e, getComputedStyle(e, "::before").color, "label " + e.dataset.label);
		if (e.placeholder) see(e, getComputedStyle(e, "::placeholder").color, "placeholder " + e.placeholder);
	}
	for (const l of document.querySelectorAll("#charts polyline")) { const r = ratio(parse(getComputedStyle(l).stroke), behind(l.closest("div"))); if (r < 3) faint.push("a line of a chart " + r.toFixed(2)); }
	const moving = [...document.querySelectorAll("*")].filter(e => { const s = getComputedStyle(e); return s.animationName !== "none" || s.transitionDuration !== "0s"; });
	return {Faint: faint, Looked: looked, Least: least, Moving: moving.length};
})()`

// TestIntegrationPageAccess: the page can be used without a mouse, without colours and without seeing it.
func TestIntegrationPageAccess(t *testing.T) {
	needChromium(t)
	h, c := manyBackends(t)
	h.awaitHealth(t, "down", c.addrs[188:]...)
	p := openPage(t, h.admin)
	p.await("the backends are shown, and a past",
		`document.querySelectorAll("#pools tbody tr").length === 60 && document.querySelectorAll("#charts polyline").length === 5`)
	p.js(`for (const d of document.querySelectorAll("details")) d.open = true; 0`, nil)
	p.await("the numbers behind the charts, each of a time of its own",
		`new Set([...document.querySelectorAll("#numbers-body th")].map(e => e.textContent)).size === 10`)

	for _, theme := range []string{"light", "dark"} {
		for _, width := range []int64{1400, 390} {
			when := fmt.Sprintf("%s, %d pixels", theme, width)
			p.do(chromedp.EmulateViewport(width, 1000), emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{
				{Name: "prefers-color-scheme", Value: theme}, {Name: "prefers-reduced-motion", Value: "reduce"},
			}))
			p.heard(when, 3)
			var seen struct {
				Faint  []string
				Looked int
				Least  float64
				Moving int
			}
			p.js(contrast, &seen)
			if len(seen.Faint) > 0 || seen.Looked < 300 {
				t.Errorf("%s: of %d texts these are too faint: %q", when, seen.Looked, seen.Faint)
			}
			if seen.Moving > 0 {
				t.Errorf("%s: %d elements move although nothing should", when, seen.Moving)
			}
			t.Logf("%s: the least contrast of %d texts is %.2f", when, seen.Looked, seen.Least)
		}
	}
	p.do(chromedp.EmulateViewport(1400, 1000))
	p.tabs()

	// Nothing is read out while nothing happens but traffic; then what happens is, and only that.
	p.js(`window.said = []; for (const live of document.querySelectorAll("[role=status], [role=alert]")) new MutationObserver(() => said.push(live.textContent)).observe(live, {childList: true, characterData: true, subtree: true}); 0`, nil)
	p.polled(4)
	var said []string
	if p.js("said", &said); len(said) > 0 {
		t.Errorf("read out although nothing happened: %q", said)
	}
	c.lives[0].Close()
	p.await("the loss of a backend is read out", `said.length > 0`)
	if p.js("said", &said); len(said) != 1 || !strings.Contains(said[0], "Pool mail: 9 of 10 backends live") {
		t.Errorf("read out: %q", said)
	}

	// The dialog has a name, holds the focus, and gives it back.
	button := fmt.Sprintf(`button[aria-label="Drain %s of pool mail"]`, c.addrs[1])
	p.do(chromedp.Focus(button), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible("#dialog"))
	if i := slices.IndexFunc(p.tree(), func(n *axNode) bool { return n.role == "dialog" && strings.HasPrefix(n.name, "Drain "+c.addrs[1]) }); i < 0 {
		t.Error("the dialog has no name")
	}
	for range 9 {
		p.do(chromedp.KeyEvent(kb.Tab))
		var inside bool
		if p.js(`!!document.activeElement.closest("#dialog") || document.activeElement === document.body`, &inside); !inside {
			t.Error("the focus leaves the open dialog")
		}
	}
	p.do(chromedp.KeyEvent(kb.Escape))
	p.await("the focus is back", fmt.Sprintf("document.activeElement === document.querySelector(%q)", button))
	p.content()
}

// tabs walks over the controls: each is reached, and shows it.
func (p *browserPage) tabs() {
	p.Helper()
	p.js("document.activeElement.blur(); scrollTo(0, 0)", nil)
	var reached []string
	for range 14 {
		p.do(chromedp.KeyEvent(kb.Tab))
		var at struct {
			What, Style string
			Width       float64
		}
		p.js(`(e => { const s = getComputedStyle(e); return {What: e.id || e.tagName, Style: s.outlineStyle, Width: parseFloat(s.outlineWidth)}; })(document.activeElement)`, &at)
		if at.Style == "none" || at.Width < 2 {
			p.Errorf("%s has the focus and does not show it: outline %s, %v px", at.What, at.Style, at.Width)
		}
		reached = append(reached, at.What)
	}
	for _, want := range []string{"s-reasons", "s-numbers", "charted", "find", "state", "sort", "BUTTON"} {
		if !slices.Contains(reached, want) {
			p.Errorf("the tabulator does not reach %s, only %q", want, reached)
		}
	}
}
