/** Text by textContent alone: nothing from a model is read as HTML. */
report.make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === 'class') element.className = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};

/** The lines of traces, read when one is looked at. */
const traceLines = document.getElementById('traces').textContent.split('\n');
report.traceOf = (line) =>
  line === null || line === undefined ? null : JSON.parse(traceLines[line]);

/** The tokens of one answer, shaded; they keep their trace for the numbers. */
report.tokens = (trace, shade) => {
  const box = report.make('div', {
    class: 'tokens',
    tabindex: '0',
    role: 'group',
    'aria-label': 'Tokens; left and right arrows move',
  });
  trace[0].forEach((text, i) => {
    const span = document.createElement('span');
    span.textContent = text;
    span.dataset.i = i;
    box.append(span);
  });
  box.trace = trace;
  report.shade(box, shade);
  return box;
};

report.shade = (box, name) => {
  const { read, range, colour } = report.SHADES[name];
  for (const span of box.children) {
    const value = read(box.trace, Number(span.dataset.i));
    span.style.backgroundColor =
      value === null ? 'transparent' : colour(report.shareOf(value, range));
  }
};

const shown = (value, digits) =>
  value === null || value === undefined ? '-inf' : value.toFixed(digits);

/** The numbers of one token as one line. */
report.numbersOf = (trace, i) => {
  const [texts, js, temperature, base, instructed, steered] = trace;
  const shift = report.SHADES.shift.read(trace, i);
  return [
    `token ${i + 1} of ${texts.length} ${JSON.stringify(texts[i])}`,
    `JS ${shown(js[i], 4)}`,
    `T ${shown(temperature[i], 3)}`,
    `log P1 ${shown(base[i], 2)}`,
    `log P2 ${shown(instructed[i], 2)}`,
    `log P' ${shown(steered[i], 2)}`,
    `shift ${shift === null ? '-' : (shift > 0 ? '+' : '') + shift.toFixed(2)}`,
  ].join('   ');
};

report.legend = (name) => {
  const { range, colour, told } = report.SHADES[name];
  const bar = report.make('i', { 'aria-hidden': 'true' });
  const stops = [0, 0.25, 0.5, 0.75, 1].map((share) => colour(share)).join(', ');
  bar.style.background = `linear-gradient(to right, ${stops})`;
  const number = (value) => Number(value.toFixed(2)).toString();
  return report.make(
    'span',
    { class: 'legend' },
    number(range[0]),
    bar,
    number(range[1]),
    report.make('span', {}, told),
  );
};
