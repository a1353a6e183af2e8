'use strict';
// How values become text, and text becomes part of the document.

const $ = (id) => document.getElementById(id);
const TEXT_SHOWN_MAX = 400;
const whole = new Intl.NumberFormat('en'), short = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 });

// Control characters and those that turn the direction of text could make a name look like another.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
function visible(value) {
  const text = String(value), cut = text.length > TEXT_SHOWN_MAX ? `${text.slice(0, TEXT_SHOWN_MAX)}…` : text;
  return cut.replace(UNSEEN, (sign) => `\\u{${sign.codePointAt(0).toString(16)}}`);
}

const known = (value) => typeof value === 'number' && Number.isFinite(value);
const count = (value) => (known(value) ? whole.format(value) : '–');

function size(bytes) {
  if (!known(bytes)) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let step = 0, amount = bytes;
  for (; amount >= 1023.5 && step < units.length - 1; step += 1) amount /= 1024;
  return `${step && amount < 99.95 ? amount.toFixed(1) : whole.format(Math.round(amount))} ${units[step]}`;
}

function rate(perSecond) {
  if (!known(perSecond)) return '–';
  return perSecond < 10 && perSecond % 1 ? perSecond.toFixed(1) : perSecond < 100_000 ? count(Math.round(perSecond)) : short.format(perSecond);
}

function span(ms) {
  if (!known(ms)) return '–';
  const s = ms / 1000;
  if (s < 0.05) return '0 s';
  if (s < 9.95) return `${s.toFixed(1)} s`;
  if (s < 99.5) return `${Math.round(s)} s`;
  const minutes = s / 60, hours = Math.floor(minutes / 60), days = Math.floor(hours / 24);
  if (minutes < 10) return `${Math.floor(minutes)} min ${Math.floor(s % 60)} s`;
  if (hours < 1) return `${Math.floor(minutes)} min`;
  if (days < 1) return `${hours} h ${Math.floor(minutes % 60)} min`;
  return `${days} d ${hours % 24} h`;
}

const clock = (date) => date.toLocaleTimeString('en-GB');
const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

const MEANINGS = {
  1000: 'normal', 1001: 'going away', 1002: 'protocol error', 1003: 'unsupported data', 1005: 'no code', 1006: 'cut',
  1007: 'not UTF-8', 1008: 'policy', 1009: 'too big', 1010: 'extension missing', 1011: 'server error', 1012: 'restart', 1013: 'try later', 1014: 'bad gateway',
};
const REFUSALS = { 400: 'bad request', 403: 'forbidden', 404: 'no route', 405: 'not GET', 408: 'too slow', 413: 'too long', 426: 'no WebSocket 13', 431: 'head too long', 503: 'full' };
const STATUS_WORDS = { websocket: 'WebSocket', shared: 'Shared', unattended: 'Unattended', handshake: 'Handshake', closing: 'Closing' };
// A name from the server may be that of something every object inherits.
const own = (table, key) => (Object.hasOwn(table, key) ? table[key] : undefined);
const statusWord = (status) => own(STATUS_WORDS, status ?? '') ?? visible(status ?? '–');

// Elements. What is in `props` are attributes, or `text`, or listeners as functions.
function make(tag, props = {}, ...children) {
  const element = tag === 'svg' || SVG_TAGS.has(tag) ? document.createElementNS('http://www.w3.org/2000/svg', tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === 'text') element.textContent = value;
    else if (typeof value === 'function') element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}
const SVG_TAGS = new Set(['path', 'line', 'circle']);

// Writing to the document costs layout, so it is done for what differs only.
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
function mark(element, name, value) {
  if (value === null || value === undefined || value === false) { if (element.hasAttribute(name)) element.removeAttribute(name); return; }
  const text = value === true ? '' : String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

// A list of terms and descriptions, as [term, text, class].
function fillList(list, pairs) {
  while (list.children.length > pairs.length) list.lastElementChild.remove();
  pairs.forEach(([term, text, name], i) => {
    const line = list.children[i] ?? list.appendChild(make('div', {}, make('dt'), make('dd')));
    say(line.firstChild, term);
    say(line.lastChild, text);
    line.lastChild.className = name ?? '';
  });
}

// The body of a small table: one row for each item, reused by place. `cells` are [text, class, title].
function fillRows(table, items, cells) {
  const body = table.tBodies[0];
  while (body.rows.length > items.length) body.lastElementChild.remove();
  items.forEach((item, i) => {
    const row = body.rows[i] ?? body.insertRow();
    cells(item).forEach(([text, name, title], at) => {
      const cell = row.cells[at] ?? row.insertCell();
      say(cell, text);
      if (cell.className !== (name ?? '')) cell.className = name ?? '';
      mark(cell, 'title', title);
    });
  });
}
