"use strict";
// Draws every chart of the page from the data beside it. Without scripts the tables say the same.
(() => {
  const nines = [0, -Math.log10(0.5), 1, 2, 3, 4], names = ["", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"];
  const ms = v => v == null ? "-" : (v < 10 ? v.toFixed(2) : v.toFixed(0)) + " ms";
  const share = v => v == null ? "-" : (100 * (1 - 10 ** -v)).toFixed(v < 1 ? 0 : Math.ceil(v)) + " %";
  const kinds = {
    percentiles: {name: "part", x: {splits: () => nines, values: () => names}, xValue: share, y: {distr: 3}, yValue: ms, yLabel: "ms", xLabel: "of the conns had their answer within"},
    rates: {name: "rate", x: {}, xValue: v => v == null ? "-" : v.toFixed(0) + "/s", y: {distr: 3}, yValue: ms, yLabel: "p99, ms", xLabel: "conns per second that should have begun"},
    timeline: {name: "at", x: {}, xValue: v => v == null ? "-" : v.toFixed(1) + " s", y: {range: (u, lo, hi) => [0, hi || 1]}, yValue: v => v == null ? "-" : v.toFixed(0) + "/s", yLabel: "conns per second", xLabel: "seconds"},
  };
  const events = list => u => {
    const c = u.ctx, ratio = devicePixelRatio;
    c.save();
    c.fillStyle = c.strokeStyle = getComputedStyle(document.body).color;
    c.font = 11 * ratio + "px sans-serif";
    c.textAlign = "center";
    c.setLineDash([2 * ratio, 2 * ratio]);
    list.forEach((e, i) => {
      const x = u.valToPos(e.x, "x", true), top = u.bbox.top - (i % 2 ? 6 : 20) * ratio; // beside each other they may not have the room
      c.beginPath(); c.moveTo(x, top); c.lineTo(x, u.bbox.top + u.bbox.height); c.stroke();
      c.fillText(e.text, x, top - 2 * ratio);
    });
    c.restore();
  };
  for (const place of document.querySelectorAll("[data-plot]")) {
    const p = JSON.parse(place.dataset.plot), k = kinds[p.kind], style = getComputedStyle(place), stacked = p.kind === "timeline";
    const colour = s => { const e = document.createElement("i"); e.className = s.class; place.append(e); const c = getComputedStyle(e).getPropertyValue("--c"); e.remove(); return c; };
    const raw = p.series.map(s => s.y);
    const data = stacked ? raw.map((_, i) => p.x.map((_, at) => raw.slice(0, i + 1).reduce((sum, y) => sum + y[at], 0))) : raw;
    const axis = {stroke: style.color, grid: {stroke: style.getPropertyValue("--grid"), width: 1}, ticks: {show: false}};
    const one = (s, i) => ({label: s.name, stroke: colour(s), width: stacked ? 0 : s.strong ? 3 : 1.7, fill: stacked ? colour(s) : undefined, points: {show: p.kind === "rates"},
      spanGaps: p.kind === "rates", value: (u, v, si, at) => k.yValue(at == null ? null : raw[i][at])});
    // What lies below in a stack is drawn over what it carries.
    const order = p.series.map((_, i) => i);
    if (stacked) order.reverse();
    const plot = new uPlot({
      width: place.clientWidth, height: 260, padding: [p.events ? 34 : 12, 12, 0, 0], cursor: {drag: {x: false, y: false}}, scales: {x: {time: false}, y: k.y},
      axes: [{...axis, ...k.x, size: 34, label: k.xLabel, labelSize: 18, labelFont: "12px sans-serif"}, {...axis, label: k.yLabel, labelSize: 18, labelFont: "12px sans-serif", size: 56}],
      series: [{label: k.name, value: (u, v) => k.xValue(v)}, ...order.map(i => one(p.series[i], i))],
      hooks: {draw: p.events ? [events(p.events)] : []},
    }, [p.x, ...order.map(i => data[i])], place);
    addEventListener("resize", () => plot.setSize({width: place.clientWidth, height: 260}));
  }
})();
