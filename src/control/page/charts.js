// Small graphs of what has been seen, the last two minutes of it. Drawn by time, so that a pause is
// a gap and not a slope.

const SHOWN_MS_MIN = 20_000, SHOWN_MS_MAX = 120_000, GAP_MS = 12_000, CHART_WIDTH = 240, CHART_HEIGHT = 44;

class Chart {
  // `lines` names the series; `wording` makes text of a value; `floating` lets the scale begin above zero.
  constructor(title, wording, { lines = [''], floating = false } = {}) {
    Object.assign(this, { title, wording, lines, floating, samples: [], pointed: null });
    this.value = make('p', { class: 'value' });
    this.note = make('p', { class: 'muted small note' });
    this.curves = lines.map((_, i) => make('path', { class: `curve c${i}` }));
    this.area = make('path', { class: 'area' });
    this.dot = make('path', { class: 'dot' });
    this.cursor = make('line', { class: 'cursor', y1: 0, y2: CHART_HEIGHT, visibility: 'hidden' });
    this.svg = make('svg', { viewBox: `0 0 ${CHART_WIDTH} ${CHART_HEIGHT}`, preserveAspectRatio: 'none', role: 'img',
      pointermove: (event) => this.point(event.offsetX / this.svg.clientWidth), pointerleave: () => this.point(null) });
    this.svg.append(this.area, this.cursor, ...this.curves.toReversed(), this.dot);
    this.element = make('article', { class: 'tile' }, make('h3', { text: title }), this.value, this.svg, this.note);
    this.plain = '';
  }

  add(values, note) {
    const at = performance.now();
    this.samples.push({ at, values });
    while (this.samples[0].at < at - SHOWN_MS_MAX - GAP_MS) this.samples.shift();
    this.plain = note;
    this.draw();
  }

  clear() { this.samples = []; }

  draw() {
    const last = this.samples.at(-1);
    if (!last) return;
    const shownMs = Math.min(SHOWN_MS_MAX, Math.max(SHOWN_MS_MIN, last.at - this.samples[0].at));
    const all = this.samples.flatMap(({ values }) => values).filter(known);
    const top = Math.max(...all, 0), low = this.floating && all.length ? Math.min(...all) : 0;
    const spread = Math.max(top - low, this.floating ? top * 0.05 : 0, this.floating ? 4 : 1), base = Math.max(0, low - (this.floating ? spread * 0.25 : 0));
    const x = (at) => CHART_WIDTH - 3 - (last.at - at) / shownMs * (CHART_WIDTH - 3);
    const y = (value) => CHART_HEIGHT - 2 - (value - base) / (low + spread - base) * (CHART_HEIGHT - 7);
    this.curves.forEach((curve, i) => curve.setAttribute('d', this.path(i, x, y, false)));
    this.area.setAttribute('d', this.path(0, x, y, true));
    const shown = this.pointed === null ? last : this.nearest(last.at - (1 - this.pointed) * shownMs);
    const main = shown.values[0];
    this.dot.setAttribute('d', known(main) ? `M${x(shown.at)} ${y(main)}h0` : '');
    mark(this.cursor, 'visibility', this.pointed === null ? 'hidden' : 'visible');
    mark(this.cursor, 'x1', x(shown.at)); mark(this.cursor, 'x2', x(shown.at));
    say(this.value, this.wording(main));
    say(this.note, this.pointed === null ? this.plain : `${this.words(shown.values)} ${shown === last ? 'now' : `${span(last.at - shown.at)} ago`}`);
    mark(this.svg, 'aria-label', `${this.title}, the last ${span(shownMs)}: now ${this.words(last.values)}, at most ${this.wording(top)}`);
  }

  words(values) { return values.map((value, i) => [this.lines[i], this.wording(value)].filter(Boolean).join(' ')).join(', '); }

  path(series, x, y, closed) {
    let d = '', from = null, before = null;
    const end = () => { if (closed && from) d += `V${CHART_HEIGHT}H${x(from.at).toFixed(1)}Z`; from = null; };
    for (const sample of this.samples) {
      const value = sample.values[series];
      if (!known(value)) { end(); continue; }
      const apart = !from || sample.at - before.at > GAP_MS;
      if (apart) { end(); from = sample; }
      d += `${apart ? 'M' : 'L'}${x(sample.at).toFixed(1)} ${y(value).toFixed(1)}`;
      before = sample;
    }
    end();
    return d;
  }

  nearest(at) {
    return this.samples.reduce((best, sample) => (Math.abs(sample.at - at) < Math.abs(best.at - at) ? sample : best));
  }

  point(share) {
    this.pointed = share;
    this.draw();
  }
}
