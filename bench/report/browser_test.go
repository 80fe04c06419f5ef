package report

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Chromium draws every chart of the page, with all its lines, and has nothing to complain of; the bars of a table are as
// long as their figures.
func TestIntegrationPageInChromium(t *testing.T) {
	if os.Getenv("HOMING_INTEGRATION") != "1" {
		t.Skip("starts a browser: make integration runs it")
	}
	path := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(path, []byte(draw(t, fixture(), fixture())), 0o600); err != nil {
		t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.WindowSize(1280, 900))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	var complaints []string
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			complaints = append(complaints, e.ExceptionDetails.Error())
		case *log.EventEntryAdded:
			complaints = append(complaints, e.Entry.Text)
		}
	})
	var charts, canvases, lines, wanted, painted int
	var wide, half float64
	err := chromedp.Run(ctx, log.Enable(), chromedp.Navigate("file://"+path), chromedp.WaitVisible("#figures"),
		chromedp.Evaluate(`document.querySelectorAll("[data-plot]").length`, &charts),
		chromedp.Evaluate(`document.querySelectorAll("[data-plot] canvas").length`, &canvases),
		chromedp.Evaluate(`document.querySelectorAll(".u-legend .u-series").length`, &lines),
		chromedp.Evaluate(`[...document.querySelectorAll("[data-plot]")].reduce((n, e) => n + 1 + JSON.parse(e.dataset.plot).series.length, 0)`, &wanted),
		// A canvas is painted where its pixels have more than a few colours.
		chromedp.Evaluate(`[...document.querySelectorAll("canvas")].filter(c => {
			const d = new Uint32Array(c.getContext("2d").getImageData(0, 0, c.width, c.height).data.buffer);
			return new Set(d).size > 4;
		}).length`, &painted),
		chromedp.Evaluate(`Math.max(...[...document.querySelectorAll("#resumed .bar")].map(e => e.querySelector("i").offsetWidth / e.offsetWidth))`, &wide),
		chromedp.Evaluate(`Math.min(...[...document.querySelectorAll("#resumed .bar")].map(e => e.querySelector("i").offsetWidth / e.offsetWidth))`, &half),
	)
	if err != nil {
		t.Fatal(err)
	}
	if len(complaints) > 0 {
		t.Errorf("Chromium complains: %s", strings.Join(complaints, "\n"))
	}
	if charts < 40 || canvases != charts || painted != charts || lines != wanted {
		t.Errorf("%d charts, %d canvases of which %d are painted, %d lines of %d", charts, canvases, painted, lines, wanted)
	}
	if wide < 0.95 || half < 0.2 || half > 0.45 { // 100 % and a third
		t.Errorf("bars from %.2f to %.2f", half, wide)
	}
	if to := os.Getenv("HOMING_PAGE_PNG"); to != "" {
		var png []byte
		if err := chromedp.Run(ctx, chromedp.FullScreenshot(&png, 90)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, png, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
