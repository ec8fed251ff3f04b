/** What the page's scripts share. Blue and orange: the usual kinds of colour blindness tell them apart. */
const report = {};

report.dark = () => document.documentElement.dataset.theme === 'dark';

report.css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A colour and a kind of line for each method, the same in all charts. */
const METHOD_LINES = {
  base: { light: '#5b6169', dark: '#a2a9b1', dash: 'solid' },
  instructed: { light: '#b35c00', dark: '#e79b4f', dash: [7, 3] },
  steering: { light: '#00795a', dark: '#3cc39a', dash: [2, 3] },
  scaling: { light: '#a8477f', dark: '#e08fbe', dash: [9, 3, 2, 3] },
  sda: { light: '#0b63c5', dark: '#58a6dd', dash: 'solid' },
  aligner: { light: '#7a5c00', dark: '#d8b84a', dash: [4, 2] },
};
report.lineOf = (method) => {
  const { light, dark, dash } = METHOD_LINES[method] ?? METHOD_LINES.sda;
  return { color: report.dark() ? dark : light, type: dash };
};

/**
 * The ways to shade a token. `read` takes a trace and a position; `stops` are the values at equal steps of the scale,
 * evenly spaced or by square root, since most values are small; `colour` takes a place on the scale, 0..1.
 */
const root = (from, to, steps) =>
  Array.from({ length: steps + 1 }, (_, i) => {
    const share = i / steps;
    if (from === 0) return to * share ** 2;
    return Math.sign(share - 0.5) * to * (2 * share - 1) ** 2;
  });
report.SHADES = {
  js: {
    name: 'JS',
    read: (trace, i) => trace.js[i],
    stops: root(0, Math.LN2, 4),
    place: (value) => Math.sqrt(value / Math.LN2),
    colour: (place) => tint(place, 'warm'),
    told: 'Jensen-Shannon divergence in nats, from 0 to ln 2',
  },
  temperature: {
    name: 'T',
    read: (trace, i) => trace.temperature[i],
    stops: [0, 0.25, 0.5, 0.75, 1],
    place: (value) => value,
    // the lower the temperature, the stronger
    colour: (place) => tint(1 - place, 'cool'),
    told: 'temperature: the darker, the lower',
  },
  shift: {
    name: 'shift',
    read: (trace, i) =>
      trace.logpInstructed[i] === null || trace.logpBase[i] === null
        ? null
        : trace.logpInstructed[i] - trace.logpBase[i],
    stops: root(-4, 4, 4),
    beyond: true,
    place: (value) => 0.5 + (Math.sign(value) * Math.sqrt(Math.abs(value) / 4)) / 2,
    colour: (place) => (place < 0.5 ? tint(1 - 2 * place, 'warm') : tint(2 * place - 1, 'cool')),
    told: 'log P2 - log P1 of the token, in nats: above 0 the instruction favours it',
  },
};

/** The scale of T ends at the largest temperature of the page. */
report.scaleTemperature = (hottest) => {
  const { temperature } = report.SHADES;
  const end = hottest > 0 ? hottest : 1;
  temperature.stops = [0, 0.25, 0.5, 0.75, 1].map((share) => share * end);
  temperature.place = (value) => value / end;
};

/** A background that leaves the text readable in both themes. */
function tint(strength, kind) {
  const alpha = Math.max(0, Math.min(1, strength)) * (report.dark() ? 0.75 : 0.8);
  const rgb = report.dark()
    ? { warm: '205, 105, 20', cool: '35, 110, 195' }
    : { warm: '240, 150, 50', cool: '80, 160, 230' };
  return `rgba(${rgb[kind]}, ${alpha.toFixed(3)})`;
}
