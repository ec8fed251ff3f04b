/** Colours of the shading: blue and orange, which the usual kinds of colour blindness tell apart. */
const report = {};

report.dark = () => document.documentElement.dataset.theme === 'dark';

report.css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/**
 * The ways to shade a token. `read` takes the columns of a trace and a position; `range` is what the legend shows.
 * Columns: 0 texts, 1 JS, 2 T, 3 log P1, 4 log P2, 5 log P'.
 */
report.SHADES = {
  js: {
    name: 'JS',
    read: (trace, i) => trace[1][i],
    range: [0, Math.LN2],
    colour: (share) => tint(share, 'warm'),
    told: 'Jensen-Shannon divergence, nats',
  },
  temperature: {
    name: 'T',
    read: (trace, i) => trace[2][i],
    range: [0, 1],
    // the lower the temperature, the stronger
    colour: (share) => tint(1 - share, 'cool'),
    told: 'temperature',
  },
  shift: {
    name: 'shift',
    read: (trace, i) =>
      trace[4][i] === null || trace[3][i] === null ? null : trace[4][i] - trace[3][i],
    range: [-4, 4],
    colour: (share) => (share < 0.5 ? tint(1 - 2 * share, 'warm') : tint(2 * share - 1, 'cool')),
    told: 'log P2 - log P1 of the token, nats: right of 0 where the instruction favours it',
  },
};

/** A background that leaves the text readable in both themes. */
function tint(strength, kind) {
  const alpha = Math.max(0, Math.min(1, strength)) * (report.dark() ? 0.62 : 0.7);
  const rgb =
    kind === 'warm'
      ? report.dark()
        ? '214, 116, 28'
        : '240, 150, 50'
      : report.dark()
        ? '40, 120, 200'
        : '80, 160, 230';
  return `rgba(${rgb}, ${alpha.toFixed(3)})`;
}

report.shareOf = (value, [from, to]) => (value - from) / (to - from);
