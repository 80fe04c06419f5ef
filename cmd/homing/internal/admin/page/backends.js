
// Pools and their backends; to drain one and put it back.
const columns = ['State', 'Open', 'Conns/s', 'Bytes/s', 'Conns', 'Resumed', 'Lost', 'Key age', 'Conns/s lately', ''];
const less = new Set(['Bytes/s', 'Conns', 'Key age', 'Conns/s lately']); // of many backends, on a small screen
const few = 50, whole = new Set(); // rows of a pool at first, and the pools that show all
let chosen = null, live = '';

function stateOf(b) {
  if (b.state === 'drained') return ['drained', 'warn', 'draining'];
  if (b.state === 'draining') {
    const left = b.drain.until ? (new Date(b.drain.until) - new Date(status.now)) / 1000 : 0;
    return [b.drain.mode === 'soft' && left > 0 ? 'draining, ' + span(left) : 'draining', 'warn', 'draining'];
  }
  if (b.health !== 'up') return [b.health + (b.health_since ? ', ' + span((new Date(status.now) - new Date(b.health_since)) / 1000) : ''), 'bad', 'down'];
  return [b.fresh_share_percent < 100 ? 'slow start, ' + b.fresh_share_percent + ' %' : 'up', 'good', 'up'];
}
// whyOf is why a backend is not what it should be, in the words of the log.
function whyOf(b) {
  return [b.health !== 'up' && b.health_why, b.report !== 'ready' && 'says: ' + b.report].filter(Boolean).join('; ');
}
function keyAge(b) {
  const ages = ((b.probe && b.probe.versions) || []).map(v => v.key_age_seconds).filter(a => a > 0);
  return ages.length ? span(Math.max(...ages)) : '–';
}
function makeRow() {
  const row = element('tr', { role: 'row' }, element('th', { scope: 'row', role: 'rowheader' }, element('span'), element('small')));
  for (const c of columns) row.append(cell({ ...(c && { 'data-label': c }), ...(less.has(c) && { class: 'less' }) }));
  row.children[9].append(drawing('svg', { class: 'spark', viewBox: '0 0 149 20', preserveAspectRatio: 'none', role: 'img' }, drawing('polyline')));
  const button = element('button', { type: 'button' });
  button.addEventListener('click', () => confirmDrain(row.backend));
  row.children[10].append(button);
  return row;
}
function fillRow(row, b) {
  const known = row.backend;
  row.backend = b;
  const [state, how] = stateOf(b), cells = row.children;
  text(cells[0].firstChild, b.name === b.address ? b.address : b.address + ' (' + b.name + ')'); text(cells[0].lastChild, whyOf(b)); attribute(row, 'title', whyOf(b));
  text(cells[1], state); attribute(cells[1], 'class', how);
  [b.conns_open, b.conns_per_second, b.bytes_per_second, b.conns].forEach((n, i) => { text(cells[2 + i], number(n)); attribute(cells[2 + i], 'title', n); });
  text(cells[6], percent(b.accepted, b.accepted + b.refused)); attribute(cells[6], 'title', b.accepted + ' of ' + (b.accepted + b.refused));
  text(cells[7], number(b.lost)); attribute(cells[7], 'title', b.lost);
  text(cells[8], keyAge(b));
  const button = cells[10].firstChild, word = b.drain.mode === 'off' ? 'Drain' : 'Undrain';
  text(button, word); attribute(button, 'aria-label', word + ' ' + b.address + ' of pool ' + b.pool);
  if (!known) drawSpark(row);
}
function drawSpark(row) {
  const s = series.get(row.backend.pool + ' ' + row.backend.address), points = s ? s.conns_per_second : [], most = Math.max(0, ...points), svg = row.children[9].firstChild;
  attribute(svg.firstChild, 'points', line(points, Math.max(1, most), 20));
  attribute(svg, 'aria-label', 'highest ' + number(most));
}
function drawSparks() { for (const row of document.querySelectorAll('#pools tbody tr')) drawSpark(row); }

// rowsOf is the backends of a pool that are shown. Somebody whose pointer or focus is among them is about to do something:
// their order stays, and the row with the focus or the dialog stays.
function rowsOf(p, body) {
  const find = $('find').value.toLowerCase(), state = $('state').value, sort = $('sort').value;
  const rank = b => ['down', 'draining', 'up'].indexOf(stateOf(b)[2]);
  const order = { conns: (a, b) => b.conns_open - a.conns_open, bytes: (a, b) => b.bytes_per_second - a.bytes_per_second, lost: (a, b) => b.lost - a.lost, state: (a, b) => rank(a) - rank(b) }[sort];
  const busy = document.activeElement?.closest('#pools tbody tr'), held = b => (busy && busy.parentElement === body && busy.dataset.key === b.address) || ($('dialog').open && chosen.pool === b.pool && chosen.address === b.address);
  const matches = b => (!find || (b.address + ' ' + b.name + ' ' + stateOf(b)[0] + ' ' + whyOf(b)).toLowerCase().includes(find)) && (!state || stateOf(b)[2] === state);
  let list = p.backends.filter(b => matches(b) || held(b));
  const all = list.length;
  if (order) {
    list = [...list].sort(order);
    if (busy || $('dialog').open || (matchMedia('(hover: hover)').matches && body.matches(':hover'))) {
      const place = new Map([...body.rows].map((row, i) => [row.dataset.key, i]));
      list.sort((a, b) => (place.get(a.address) ?? few * few) - (place.get(b.address) ?? few * few));
    }
  }
  if (!whole.has(p.name) && all > few + 10) list = list.filter((b, i) => i < few || held(b));
  return [list, all];
}
function makePool(p) {
  const head = element('tr', { role: 'row' }, element('th', { scope: 'col', role: 'columnheader' }, 'Backend'));
  for (const c of columns) head.append(element('th', { scope: 'col', role: 'columnheader' }, c || element('span', { class: 'unseen' }, 'Drain or undrain')));
  const widths = element('colgroup', {}, ...['backend', 'state', ...Array(7).fill('number'), 'spark', 'do'].map(c => element('col', { class: 'c-' + c })));
  const more = element('button', { type: 'button', class: 'more' });
  more.addEventListener('click', () => { if (!whole.delete(p.name)) whole.add(p.name); drawPools(); drawSparks(); });
  return element('div', {}, element('table', { role: 'table', class: 'cards' }, element('caption'), widths, element('thead', { role: 'rowgroup' }, head), element('tbody', { role: 'rowgroup' })),
    element('p', { class: 'tools' }, element('span'), more));
}
function drawPools() {
  const many = status.pools.reduce((n, p) => n + p.backends.length, 0) > 30;
  $('pools').classList.toggle('many', many);
  keyed($('pools'), status.pools, p => p.name, makePool, (box, p) => {
    const table = box.firstChild, body = table.tBodies[0], [list, all] = rowsOf(p, body), states = p.backends.map(b => stateOf(b)[2]);
    const count = s => states.filter(one => one === s).length, words = ['down', 'draining'].filter(count).map(s => ', ' + count(s) + ' ' + s).join('');
    text(table.caption, 'Pool ' + p.name + ', ' + p.policy + ': ' + p.live + ' of ' + p.backends.length + ' live' + words + (p.queue.waiting ? ', ' + p.queue.waiting + ' conns wait for room' : ''));
    keyed(body, list, b => b.address, makeRow, fillRow);
    const foot = box.lastChild, all_shown = list.length >= all;
    text(foot.firstChild, all < p.backends.length || !all_shown ? list.length + ' of ' + p.backends.length + ' are shown' : '');
    text(foot.lastChild, all_shown ? 'Show ' + few : 'Show all ' + all);
    foot.lastChild.hidden = all_shown && !(whole.has(p.name) && all > few + 10);
    foot.hidden = foot.lastChild.hidden && !foot.firstChild.textContent;
  });
  const now = status.pools.map(p => 'Pool ' + p.name + ': ' + p.live + ' of ' + p.backends.length + ' backends live').join('. ');
  if (live && live !== now) text($('told'), now); // what has changed, not what is
  live = now;
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
    if (not.length) { text($('d-error'), 'done here, but not at ' + not.map(n => (n.name || n.node) + ' (' + n.error + ')').join(', ')); } else $('dialog').close();
    status = await ask('/v1/status'); draw();
  } catch (err) { text($('d-error'), err.message); $('d-forced').hidden = !/--force/.test(err.message); }
  $('d-yes').disabled = false;
});
$('login').addEventListener('submit', e => { e.preventDefault(); token = $('token').value; sessionStorage.setItem('token', token); });
for (const control of ['find', 'state', 'sort']) $(control).addEventListener('input', () => { if (status) { drawPools(); drawSparks(); } });
poll();
