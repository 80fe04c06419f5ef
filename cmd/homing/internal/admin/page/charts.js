
// Conns, traffic and resumptions over time.
const kept = 150, series = new Map(); // by pool and address
const charts = [
  { name: 'Conns open', fields: ['conns_open'], unit: '' },
  { name: 'New conns', fields: ['conns_per_second'], unit: '/s' },
  { name: 'Bytes, both directions', fields: ['bytes_per_second'], unit: 'B/s' },
  { name: 'Offers to resume', fields: ['accepted_per_second', 'refused_per_second'], unit: '/s', words: ['resumed', 'refused (dashed)'] },
];
const fields = charts.flatMap(c => c.fields);
let sampled = 0, step = 2, sums = new Map(); // of the chosen pool, by field

async function drawHistory() {
  const h = await ask('/v1/history?after=' + sampled), whole = h.next < sampled || sampled === 0; // of another process, or the first
  step = h.step_seconds;
  const there = new Set();
  for (const b of h.backends) {
    const k = b.pool + ' ' + b.address, old = whole ? undefined : series.get(k);
    there.add(k);
    const one = { pool: b.pool };
    for (const f of fields) one[f] = old ? old[f].concat(b[f]).slice(-kept) : b[f];
    series.set(k, one);
  }
  for (const k of series.keys()) if (!there.has(k)) series.delete(k);
  sampled = h.next;
  keyed($('charted'), [''].concat(status.pools.map(p => p.name)), n => n, n => element('option', { value: n }, n || 'all pools'), () => {});
  sum();
  drawCharts();
  drawSparks();
}
// summed adds up the backends of the chosen pool; the last sample of each is of the same moment.
function summed(field) {
  const pool = $('charted').value, out = [];
  for (const s of series.values()) {
    if (pool && s.pool !== pool) continue;
    const points = s[field];
    while (out.length < points.length) out.unshift(0);
    for (let i = 0, at = out.length - points.length; i < points.length; i++) out[at + i] += points[i];
  }
  return out;
}
function sum() { sums = new Map(fields.map(f => [f, summed(f)])); }
// lately is the samples and what is so right now, where the status says that.
function lately(field) {
  const pool = $('charted').value, all = status.pools.filter(p => !pool || p.name === pool).flatMap(p => p.backends), points = sums.get(field) || [];
  return all.length && field in all[0] ? points.concat(all.reduce((n, b) => n + b[field], 0)).slice(-kept) : points;
}
function line(points, top, height) {
  return points.map((v, i) => (kept - points.length + i) + ',' + (height - 1 - (height - 3) * v / top).toFixed(1)).join(' ');
}
// above is the least round number that is not below n, so that the scale does not change all the time.
function above(n) {
  if (n <= 1) return 1;
  const ten = 10 ** Math.floor(Math.log10(n));
  return [1, 2, 3, 5, 10].map(f => f * ten).find(v => v >= n * 0.9999);
}
function makeChart(c) {
  const lines = c.fields.map((f, i) => drawing('polyline', { class: i ? 'second' : 'first' }));
  return element('figure', {}, element('figcaption', {}, element('b', {}, c.name), element('span')),
    element('div', { class: 'plot' }, drawing('svg', { viewBox: '0 0 149 100', preserveAspectRatio: 'none', role: 'img' }, drawing('path', { d: 'M0 2H149M0 50.5H149M0 99H149' }), ...lines),
      element('span', { class: 'top', 'aria-hidden': 'true' }), element('span', { class: 'zero', 'aria-hidden': 'true' }, '0')),
    element('div', { class: 'ends', 'aria-hidden': 'true' }, element('span', {}, span(kept * step) + ' ago'), element('span', {}, 'now')));
}
function drawCharts() {
  const data = new Map(fields.map(f => [f, lately(f)]));
  keyed($('charts'), charts, c => c.name, makeChart, (figure, c) => {
    const most = c.fields.map(f => Math.max(0, ...data.get(f))), top = above(Math.max(...most)), show = n => number(n) + (c.unit && !c.unit.startsWith('/') ? ' ' : '') + c.unit;
    const said = c.fields.map((f, i) => (c.words ? c.words[i] : 'now') + ' ' + show(data.get(f).at(-1) || 0) + (c.words ? '' : ', highest ' + show(most[i]))).join(', ');
    text(figure.querySelector('figcaption span'), said);
    attribute(figure.querySelector('svg'), 'aria-label', c.name + ', the last ' + span(kept * step) + ': ' + said + (c.words ? '; highest ' + most.map(show).join(' and ') : ''));
    c.fields.forEach((f, i) => attribute(figure.querySelectorAll('polyline')[i], 'points', line(data.get(f), top, 100)));
    text(figure.querySelector('.top'), show(top));
  });
  if ($('numbers').open) drawNumbers(data);
}
// drawNumbers says the same in words: every 30 s.
function drawNumbers(data) {
  const every = Math.round(30 / step), rows = [];
  for (let back = 0; back < kept; back += every) rows.push(back);
  const words = ['Conns open', 'New conns/s', 'Bytes/s', 'Resumed/s', 'Refused/s'];
  if ($('numbers-head').children.length === 1) for (const w of words) $('numbers-head').append(element('th', { scope: 'col', role: 'columnheader' }, w));
  keyed($('numbers-body'), rows, String, back => element('tr', { role: 'row' }, element('th', { scope: 'row', role: 'rowheader' }, back ? back * step + ' s ago' : 'now'), ...words.map(() => cell())), (row, back) => {
    fields.forEach((f, i) => { const points = data.get(f), v = points[points.length - 1 - back]; text(row.children[i + 1], v === undefined ? '–' : number(v)); });
  });
}
$('charted').addEventListener('change', () => { sum(); drawCharts(); });
$('numbers').addEventListener('toggle', () => { if (sampled) drawCharts(); });
