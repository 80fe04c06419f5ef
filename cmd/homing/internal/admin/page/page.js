'use strict';
const $ = id => document.getElementById(id);
let status = null, after = 0, polls = 0, silent = '';
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
// What is there already is left alone: nothing is laid out, or read out, that has not changed.
function text(node, value) { if (node.textContent !== String(value)) node.textContent = value; }
function attribute(node, name, value) { if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value); }
function fill(e, attributes, inside) {
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  e.append(...inside);
  return e;
}
function element(name, attributes = {}, ...inside) { return fill(document.createElement(name), attributes, inside); }
function drawing(name, attributes = {}, ...inside) { return fill(document.createElementNS('http://www.w3.org/2000/svg', name), attributes, inside); }
function cell(attributes = {}, ...inside) { return element('td', { role: 'cell', ...attributes }, ...inside); }

// keyed makes the children of a node those of a list, one for each key. Those that stay are not taken out, which would
// cost them the focus, unless their order changes.
function keyed(parent, list, key, make, update) {
  const have = new Map([...parent.children].map(c => [c.dataset.key, c])), gone = new Map(have);
  for (const item of list) gone.delete(key(item));
  for (const old of gone.values()) old.remove();
  let at = parent.firstElementChild;
  for (const item of list) {
    const k = key(item);
    let node = have.get(k);
    if (!node) { node = make(item); node.dataset.key = k; }
    if (node !== at) parent.insertBefore(node, at); else at = at.nextElementSibling;
    update(node, item);
  }
}
function figures(id, pairs) {
  keyed($(id), pairs, p => p[0], p => element('div', {}, element('dt', {}, p[0]), element('dd')), (n, p) => {
    text(n.lastChild, p[1]);
    if (p[2] !== undefined) attribute(n.lastChild, 'data-value', p[2]); // what the API says
  });
}

function draw() {
  const t = status.totals, all = status.pools.flatMap(p => p.backends);
  const sum = f => all.reduce((n, b) => n + f(b), 0);
  text($('about'), status.version + ' · node ' + status.node + ' · up ' + span((new Date(status.now) - new Date(status.started)) / 1000));
  text($('ready'), status.ready ? 'ready' : 'not ready: ' + status.not_ready); attribute($('ready'), 'class', 'badge ' + (status.ready ? 'good' : 'bad'));
  const short = status.shortages || []; // an older node does not say
  keyed($('short'), short, s => [s.pool, s.listener, s.cause].join(' '), () => element('li', {}, element('b'), ' ', element('span'), ' ', element('em')), (n, s) => {
    text(n.children[0], (s.pool ? 'pool ' + s.pool : s.listener ? 'listener ' + s.listener : 'this node') + ', ' + s.cause.replaceAll('_', ' ') + ':');
    text(n.children[1], s.what + ', since ' + new Date(s.since).toLocaleTimeString() + '.'); text(n.children[2], s.remedy);
  });
  $('shortages').hidden = !short.length;
  const title = (status.ready && !short.length ? '' : '! ') + 'homing ' + status.node;
  if (document.title !== title) document.title = title;
  figures('now', [['Conns open', number(t.conns_open), t.conns_open], ['New conns/s', number(sum(b => b.conns_per_second))], ['Bytes/s', number(sum(b => b.bytes_per_second))],
    ['Conns accepted', number(t.conns_accepted), t.conns_accepted], ['In handshake', number(t.handshakes), t.handshakes], ['Without a hello', number(t.pre_hello), t.pre_hello], ['Waiting for room', number(t.waiting), t.waiting], ['Unroutable', number(t.unroutable), t.unroutable], ['Connect failures', number(t.connect_failures), t.connect_failures],
    ['Refused by rules', number(Object.values(t.refused).reduce((n, v) => n + v, 0)), Object.values(t.refused).reduce((n, v) => n + v, 0)], ['Memory of conns', number(t.memory_bytes) + ' B', t.memory_bytes]]
    .concat(status.tables.filter(x => x.name === 'sessions' || x.name === 'clients').map(x => ['Table of ' + x.name, x.used > x.capacity ? 'over full' : percent(x.used, x.capacity) + ' full', x.used])));
  keyed($('resumed'), t.offers, o => o.kind, () => element('div', {}, element('dt'), element('dd', {}, element('div', { class: 'track' }, element('div', { class: 'fill' })))), (n, o) => {
    const judged = o.accepted + o.refused;
    text(n.firstChild, { id: 'TLS 1.2 session IDs', ticket: 'TLS 1.2 tickets', psk: 'TLS 1.3 tickets' }[o.kind] + ': ' + percent(o.accepted, judged) + ' (' + o.accepted + ' of ' + judged + ')');
    n.querySelector('.fill').style.width = judged ? 100 * o.accepted / judged + '%' : '0';
  });
  figures('lost', ['unknown', 'expired', 'rotated', 'moved', 'not_kept', 'backend_down', 'overloaded', 'drained', 'ech'].map(r => [r.replace('_', ' '), number(t.lost[r] || 0), t.lost[r]]));
  drawPools();
  if (sampled) drawCharts();
  keyed($('nodes'), status.peers, p => p.id, () => element('tr', { role: 'row' }, element('th', { scope: 'row', role: 'rowheader' }), ...['State', 'Lag', 'Unacknowledged'].map(l => cell({ 'data-label': l }))), (n, p) => {
    [p.name || p.id, p.state, p.lag_seconds.toFixed(2) + ' s', p.unacked].forEach((v, i) => text(n.children[i], v));
    attribute(n.children[1], 'class', p.state === 'streaming' ? 'good' : 'bad');
  });
  $('nonodes').hidden = status.peers.length > 0; $('nodes').parentElement.hidden = !status.peers.length;
}

// Everything is asked for within two seconds; a page that nobody looks at asks for nothing.
async function poll() {
  const began = performance.now();
  try {
    status = await ask('/v1/status');
    $('login').hidden = true;
    draw();
    await drawNews();
    if (polls % 2 === 0) await drawHistory(); else await drawKeys();
    polls++;
    silent = '';
    text($('fresh'), 'live');
  } catch (e) {
    silent = silent || new Date().toLocaleTimeString();
    text($('fresh'), 'no answer since ' + silent + ': ' + e.message);
  }
  if (document.hidden) await new Promise(seen => document.addEventListener('visibilitychange', seen, { once: true }));
  setTimeout(poll, Math.max(250, 1000 - (performance.now() - began)));
}
async function drawKeys() {
  const all = (await ask('/v1/ticket-keys')).ticket_keys, keys = all.slice(0, 50);
  const homes = k => (k.shared ? 'shared by ' + k.backends.length + ': ' : '') + k.backends.slice(0, 4).map(b => b.address + (b.doubtful ? ' (doubtful)' : '')).join(', ') + (k.backends.length > 4 ? ', …' : '');
  keyed($('keys'), keys, k => k.pool + k.key, () => element('tr', { role: 'row' }, element('th', { scope: 'row', role: 'rowheader' }), ...['Pool', 'Age', 'Used', 'Backends'].map(l => cell({ 'data-label': l }))), (n, k) => {
    [k.key, k.pool, span(k.age_seconds), span(k.used_seconds) + ' ago', homes(k)].forEach((v, i) => text(n.children[i], v));
    attribute(n.children[2], 'class', k.age_seconds > 86400 ? 'warn' : '');
  });
  text($('nokeys'), all.length ? 'and ' + (all.length - keys.length) + ' more' : 'None is known yet.');
  $('nokeys').hidden = all.length > 0 && all.length === keys.length; $('keys').parentElement.hidden = !keys.length;
}
async function drawNews() {
  const news = await ask('/v1/events?after=' + after);
  after = news.next;
  for (const e of news.events) {
    const words = Object.entries(e.fields).map(([k, v]) => k + '=' + v).join(' ');
    $('events').prepend(element('li', { class: e.level === 'info' ? '' : e.level === 'warn' ? 'warn' : 'bad' }, element('time', { datetime: e.time }, new Date(e.time).toLocaleTimeString()), e.message + ' ' + words));
  }
  while ($('events').children.length > 200) $('events').lastChild.remove();
}
