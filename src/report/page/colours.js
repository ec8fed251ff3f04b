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
/** For rules, in the order in which they are met. */
const RULE_LINES = [
  { light: '#b3261e', dark: '#f2857d', dash: 'solid' },
  { light: '#5b3fa8', dark: '#b59cf0', dash: [7, 3] },
  { light: '#0f7681', dark: '#4fc3cf', dash: [9, 3, 2, 3] },
  { light: '#8a4b08', dark: '#dca76a', dash: [2, 3] },
  { light: '#3d6b0f', dark: '#98c65c', dash: [4, 2] },
];
const ruleMethods = [];
report.lineOf = (method) => {
  if (!(method in METHOD_LINES) && !ruleMethods.includes(method)) ruleMethods.push(method);
  const rule = RULE_LINES[ruleMethods.indexOf(method) % RULE_LINES.length];
  const { light, dark, dash } = METHOD_LINES[method] ?? rule;
  return { color: report.dark() ? dark : light, type: dash };
};

/**
 * The ways to shade a token, of which a trace has those that `of` finds in it. `read` takes a trace and a position;
 * `stops` are the values at equal steps of the scale,
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
    of: ({ columns }) => 'js' in columns,
    read: ({ columns }, i) => columns.js?.[i] ?? null,
    stops: root(0, Math.LN2, 4),
    place: (value) => Math.sqrt(value / Math.LN2),
    colour: (place) => tint(place, 'warm'),
    told: 'Jensen-Shannon divergence in nats, from 0 to ln 2',
  },
  temperature: {
    name: 'T',
    of: ({ columns }) => 'temperature' in columns,
    read: ({ columns }, i) => columns.temperature?.[i] ?? null,
    stops: [0, 0.25, 0.5, 0.75, 1],
    place: (value) => value,
    // the lower the temperature, the stronger
    colour: (place) => tint(1 - place, 'cool'),
    told: 'temperature: the darker, the lower',
  },
  shift: {
    name: 'shift',
    of: ({ columns }) => 'log P1' in columns,
    read: ({ columns }, i) => {
      const [base, instructed] = [columns['log P1']?.[i] ?? null, columns['log P2']?.[i] ?? null];
      return base === null || instructed === null ? null : instructed - base;
    },
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

/** The ways to shade the traces that are shown: those above, then other statistics of a rule, from least to most. */
report.shadesOf = (traces) => {
  const usual = Object.values(report.SHADES).filter(({ of }) => traces.some(of));
  const names = new Set(traces.flatMap(({ columns }) => Object.keys(columns)));
  const others = [...names].filter((name) => !/^(js$|temperature$|log P)/.test(name));
  return [...usual, ...others.map((name) => shadeOf(name, traces))];
};

function shadeOf(name, traces) {
  const column = ({ columns }) => columns[name] ?? [];
  const values = traces.flatMap(column).filter((value) => value !== null);
  const least = values.reduce((a, b) => Math.min(a, b), Infinity);
  const most = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const [from, width] = values.length === 0 ? [0, 0] : [least, most - least];
  return {
    name,
    read: (trace, i) => column(trace)[i] ?? null,
    stops: [0, 0.25, 0.5, 0.75, 1].map((share) => from + share * width),
    place: (value) => (width > 0 ? (value - from) / width : 0.5),
    colour: (place) => tint(place, 'warm'),
    told: `${name}, from the least to the most of what is shown`,
  };
}

/** A background that leaves the text readable in both themes. */
function tint(strength, kind) {
  const alpha = Math.max(0, Math.min(1, strength)) * (report.dark() ? 0.75 : 0.8);
  const rgb = report.dark()
    ? { warm: '205, 105, 20', cool: '35, 110, 195' }
    : { warm: '240, 150, 50', cool: '80, 160, 230' };
  return `rgba(${rgb[kind]}, ${alpha.toFixed(3)})`;
}
