'use strict';
const $ = id => document.getElementById(id);
const series = new Map();
let status = null, after = 0, chosen = null, seen = 0;
let token = sessionStorage.getItem('token') || '';

async function ask(path, method = 'GET', body) {
  const headers = token ? { Authorization: 'Bearer ' + token } : {};
  if (body) headers['Content-Type'] = 'application/json';
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body), cache: 'no-store', signal: AbortSignal.timeout(15000) });
  const said = await answer.json();
  if (answer.status === 401) $('login').hidden = false;
  if (!answer.ok) throw new Error(said.error);
  return said;
}

function number(n) {
  if (n < 10 && n !== Math.trunc(n)) return n.toFixed(1);
  if (n < 10000) return n.toFixed(0);
  for (const unit of 'kMGTPE') {
    n /= 1000;
    if (n < 9.95) return n.toFixed(1) + unit;
    if (n < 999.5) return n.toFixed(0) + unit;
  }
  return 'huge';
}
function percent(part, whole) {
  if (!whole) return '–';
  const share = 100 * part / whole;
  return (part < whole && share > 99.9 ? 99.9 : share).toFixed(1) + ' %';
}
function span(s) {
  s = Math.max(0, Math.round(s));
  if (s < 60) return s + ' s';
  if (s < 3600) return Math.floor(s / 60) + ' min';
  if (s < 172800) return Math.floor(s / 3600) + ' h ' + Math.floor(s % 3600 / 60) + ' min';
  return Math.floor(s / 86400) + ' days';
}
function text(node, value) { if (node.textContent !== String(value)) node.textContent = value; }
function element(name, attributes = {}, ...inside) {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  e.append(...inside);
  return e;
}
// keyed makes the children of a node those of a list, one for each key, and keeps those that are there.
function keyed(parent, list, key, make, update) {
  const have = new Map([...parent.children].map(c => [c.dataset.key, c]));
  let at = parent.firstElementChild;
  for (const item of list) {
    const k = key(item);
    let node = have.get(k);
    if (!node) { node = make(item); node.dataset.key = k; }
    have.delete(k);
    if (node !== at) parent.insertBefore(node, at); else at = at.nextElementSibling;
    update(node, item);
  }
  for (const old of have.values()) old.remove();
}
function figures(id, pairs) {
  keyed($(id), pairs, p => p[0], p => element('div', {}, element('dt', {}, p[0]), element('dd')), (n, p) => {
    text(n.lastChild, p[1]);
    if (p[2]) n.lastChild.dataset.value = p[2]; // what the API says
  });
}

const columns = ['State', 'Open', 'Conns/s', 'Bytes/s', 'Conns', 'Resumed', 'Lost', 'Key age', 'Conns/s lately', ''];
function stateOf(b) {
  if (b.state === 'drained') return ['drained', 'warn'];
  if (b.state === 'draining') {
    const left = b.drain.until ? (new Date(b.drain.until) - new Date(status.now)) / 1000 : 0;
    return [b.drain.mode === 'soft' && left > 0 ? 'draining, ' + span(left) : 'draining', 'warn'];
  }
  return [b.health, b.health === 'up' ? 'good' : 'bad'];
}
function keyAge(b) {
  const ages = ((b.probe && b.probe.versions) || []).map(v => v.key_age_seconds).filter(a => a > 0);
  return ages.length ? span(Math.max(...ages)) : '–';
}
function makeRow(b) {
  const row = element('tr', {}, element('td', { class: 'left' }));
  for (const c of columns) row.append(element('td', c ? { 'data-label': c } : {}));
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 150 20'); svg.setAttribute('preserveAspectRatio', 'none'); svg.setAttribute('aria-hidden', 'true');
  svg.append(document.createElementNS('http://www.w3.org/2000/svg', 'polyline'));
  row.children[9].append(svg);
  const button = element('button', { type: 'button' });
  button.addEventListener('click', () => confirmDrain(row.backend));
  row.children[10].append(button);
  return row;
}
function fillRow(row, b) {
  row.backend = b;
  const [state, how] = stateOf(b), cells = row.children;
  text(cells[0], b.name === b.address ? b.address : b.address + ' (' + b.name + ')');
  text(cells[1], state); cells[1].className = how;
  [b.conns_open, b.conns_per_second, b.bytes_per_second, b.conns].forEach((n, i) => { text(cells[2 + i], number(n)); cells[2 + i].title = n; });
  text(cells[6], percent(b.accepted, b.accepted + b.refused)); cells[6].title = b.accepted + ' of ' + (b.accepted + b.refused);
  text(cells[7], number(b.lost)); cells[7].title = b.lost;
  text(cells[8], keyAge(b));
  const points = series.get(b.pool + ' ' + b.address) || [], top = Math.max(1, ...points);
  cells[9].firstChild.firstChild.setAttribute('points', points.map((v, i) => (150 - points.length + i + 1) + ',' + (19 - 18 * v / top).toFixed(1)).join(' '));
  const button = cells[10].firstChild, word = b.drain.mode === 'off' ? 'Drain' : 'Undrain';
  text(button, word); button.setAttribute('aria-label', word + ' ' + b.address + ' of pool ' + b.pool);
}
function drawPools() {
  const find = $('find').value.toLowerCase(), sort = $('sort').value;
  const order = { conns: b => b.conns_open, bytes: b => b.bytes_per_second, lost: b => b.lost }[sort];
  keyed($('pools'), status.pools, p => p.name, p => {
    const head = element('tr', {}, element('th', { scope: 'col' }, 'Backend'));
    for (const c of columns) head.append(c ? element('th', { scope: 'col' }, c) : element('td'));
    return element('table', {}, element('caption'), element('thead', {}, head), element('tbody'));
  }, (table, p) => {
    text(table.caption, 'Pool ' + p.name + ', ' + p.policy + ': ' + p.live + ' of ' + p.backends.length + ' live');
    let list = p.backends.filter(b => !find || (b.address + ' ' + b.name + ' ' + stateOf(b)[0]).toLowerCase().includes(find));
    if (order) list = [...list].sort((a, b) => order(b) - order(a));
    keyed(table.tBodies[0], list, b => b.address, makeRow, fillRow);
  });
}
function draw() {
  const t = status.totals, all = status.pools.flatMap(p => p.backends);
  const sum = f => all.reduce((n, b) => n + f(b), 0);
  text($('about'), status.version + ' · node ' + status.node + ' · up ' + span((new Date(status.now) - new Date(status.started)) / 1000));
  text($('ready'), status.ready ? 'ready' : 'not ready: ' + status.not_ready); $('ready').className = 'badge ' + (status.ready ? 'good' : 'bad');
  figures('now', [['Conns open', number(t.conns_open), t.conns_open], ['New conns/s', number(sum(b => b.conns_per_second))], ['Bytes/s', number(sum(b => b.bytes_per_second))],
    ['Conns accepted', number(t.conns_accepted), t.conns_accepted], ['In handshake', number(t.handshakes), t.handshakes], ['Unroutable', number(t.unroutable), t.unroutable], ['Connect failures', number(t.connect_failures), t.connect_failures]]
    .concat(status.tables.filter(x => x.name === 'sessions' || x.name === 'clients').map(x => ['Table of ' + x.name, percent(x.used, x.capacity) + ' full', x.used])));
  keyed($('resumed'), t.offers, o => o.kind, o => element('div', {}, element('dt'), element('dd', {}, element('div', { class: 'track' }, element('div', { class: 'fill' })))), (n, o) => {
    const judged = o.accepted + o.refused;
    text(n.firstChild, { id: 'TLS 1.2 session IDs', ticket: 'TLS 1.2 tickets', psk: 'TLS 1.3 tickets' }[o.kind] + ': ' + percent(o.accepted, judged) + ' (' + o.accepted + ' of ' + judged + ')');
    n.querySelector('.fill').style.width = judged ? 100 * o.accepted / judged + '%' : '0';
  });
  figures('lost', ['unknown', 'expired', 'rotated', 'backend_down', 'overloaded', 'drained', 'ech'].map(r => [r.replace('_', ' '), number(t.lost[r] || 0), t.lost[r]]));
  drawPools();
  keyed($('nodes'), status.peers, p => p.id, () => element('tr', {}, element('td'), element('td', { 'data-label': 'State' }), element('td', { 'data-label': 'Lag' }), element('td', { 'data-label': 'Unacknowledged' })), (n, p) => {
    [p.id, p.state, p.lag_seconds.toFixed(2) + ' s', p.unacked].forEach((v, i) => text(n.children[i], v));
    n.children[1].className = p.state === 'streaming' ? 'good' : 'bad';
  });
  $('nonodes').hidden = status.peers.length > 0; $('nodes').parentElement.hidden = !status.peers.length;
}
async function poll() {
  try {
    status = await ask('/v1/status');
    $('login').hidden = true;
    if (seen++ % 2 === 0) for (const b of status.pools.flatMap(p => p.backends)) {
      const k = b.pool + ' ' + b.address, points = series.get(k) || [];
      points.push(b.conns_per_second); series.set(k, points.slice(-150));
    }
    draw();
    text($('fresh'), 'live');
    if (seen % 3 === 1) await less();
  } catch (e) { text($('fresh'), 'no answer: ' + e.message); }
  setTimeout(poll, 1000);
}
async function less() {
  const keys = (await ask('/v1/ticket-keys')).ticket_keys.slice(0, 50);
  keyed($('keys'), keys, k => k.pool + k.key, () => element('tr', {}, element('td'), ...['Pool', 'Age', 'Used', 'Backends'].map(l => element('td', { 'data-label': l }))), (n, k) => {
    [k.key + (k.doubtful ? ' (doubtful)' : ''), k.pool, span(k.age_seconds), span(k.used_seconds) + ' ago', (k.shared ? 'shared: ' : '') + k.backends.map(b => b.address).join(', ')].forEach((v, i) => text(n.children[i], v));
    n.children[2].className = k.age_seconds > 86400 ? 'warn' : '';
  });
  $('nokeys').hidden = keys.length > 0; $('keys').parentElement.hidden = !keys.length;
  const news = await ask('/v1/events?after=' + after);
  after = news.next;
  for (const e of news.events) {
    const words = Object.entries(e.fields).map(([k, v]) => k + '=' + v).join(' ');
    $('events').prepend(element('li', { class: e.level === 'info' ? '' : e.level === 'warn' ? 'warn' : 'bad' }, element('time', { datetime: e.time }, new Date(e.time).toLocaleTimeString()), e.message + ' ' + words));
  }
  while ($('events').children.length > 200) $('events').lastChild.remove();
}
function confirmDrain(b) {
  chosen = b;
  const drain = b.drain.mode === 'off';
  text($('d-title'), (drain ? 'Drain ' : 'Undrain ') + b.address + '?');
  text($('d-text'), drain ? 'It gets no fresh handshakes from then on. Its ' + b.conns_open + ' open conns stay.' : 'It gets fresh handshakes again.');
  text($('d-yes'), drain ? 'Drain' : 'Undrain'); text($('d-error'), '');
  $('d-options').hidden = !drain; $('d-options').disabled = !drain; $('d-forced').hidden = true; $('d-force').checked = false; $('d-this').checked = false;
  $('dialog').showModal();
  $('d-no').focus();
}
$('d-no').addEventListener('click', () => $('dialog').close());
$('d-form').addEventListener('submit', async e => {
  e.preventDefault();
  const drain = chosen.drain.mode === 'off', body = { this_node: $('d-this').checked };
  if (drain) {
    body.hard = document.querySelector('[name=mode]:checked').value === 'hard';
    body.force = $('d-force').checked;
    if (!body.hard) body.for_seconds = 60 * $('d-minutes').valueAsNumber;
  }
  $('d-yes').disabled = true;
  try {
    const done = await ask('/v1/backends/' + encodeURIComponent(chosen.address) + (drain ? '/drain' : '/undrain') + '?pool=' + encodeURIComponent(chosen.pool), 'POST', body);
    const not = done.nodes.filter(n => n.error);
    if (not.length) { text($('d-error'), 'done here, but not at ' + not.map(n => n.node + ' (' + n.error + ')').join(', ')); } else $('dialog').close();
    status = await ask('/v1/status'); draw();
  } catch (err) { text($('d-error'), err.message); $('d-forced').hidden = !/--force/.test(err.message); }
  $('d-yes').disabled = false;
});
$('login').addEventListener('submit', e => { e.preventDefault(); token = $('token').value; sessionStorage.setItem('token', token); });
$('find').addEventListener('input', () => status && drawPools());
$('sort').addEventListener('change', () => status && drawPools());
ask('/v1/history').then(h => { for (const b of h.backends) series.set(b.pool + ' ' + b.address, b.conns_per_second); }, () => {}).then(poll);
