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

/** Of SDA; other rules name theirs. */
const COLUMNS = [
  ['js', 1e4],
  ['temperature', 1e3],
  ['log P1', 100],
  ['log P2', 100],
  ["log P'", 100],
];
const NO_NUMBER = -32768;

/** A trace, read when it is looked at: `texts`, and `columns` of numbers or null by name. */
let traceLines;
report.traceOf = (line) => {
  if (line === null || line === undefined) return null;
  traceLines ??= document.getElementById('traces').textContent.split('\n');
  const [texts, numbers, named = COLUMNS] = JSON.parse(traceLines[line]);
  const bytes = Uint8Array.from(atob(numbers), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const columns = {};
  named.forEach(([name, scale], column) => {
    columns[name] = texts.map((_, token) => {
      const units = view.getInt16(2 * (column * texts.length + token), true);
      return units === NO_NUMBER ? null : units / scale;
    });
  });
  return { texts, columns };
};

/** The first token of the answer; null where the answer is no end of the text. */
report.answerStart = ({ texts }, answer) => {
  const whole = texts.join('');
  const start = answer === '' ? whole.length : whole.lastIndexOf(answer);
  if (start < 0) return null;
  let end = 0;
  const index = texts.findIndex((text) => {
    end += text.length;
    return end > start;
  });
  return index < 0 ? texts.length : index;
};

/** Tokens `from` to `to` of an answer, shaded; they keep their trace for the numbers. */
report.tokens = (trace, [from, to], shade) => {
  const box = report.make('div', {
    class: 'tokens',
    tabindex: '0',
    dir: 'auto',
    role: 'group',
    'aria-label': 'Tokens; left and right arrows move',
  });
  for (let i = from; i < to; i++) {
    const span = document.createElement('span');
    span.textContent = trace.texts[i];
    span.dataset.i = i;
    box.append(span);
  }
  box.trace = trace;
  box.from = from;
  report.shade(box, shade);
  return box;
};

report.shade = (box, shade) => {
  const { read, place, colour } = shade;
  for (const span of box.children) {
    const value = read(box.trace, Number(span.dataset.i));
    span.classList.toggle('unknown', value === null);
    span.style.backgroundColor = value === null ? 'transparent' : colour(place(value));
  }
};

const shown = (value, digits) => (value === null ? 'none' : value.toFixed(digits));
const signed = (value) => (value > 0 ? '+' : '') + shown(value, 2);

/** A number of a trace as its name and value. */
function told(name, value) {
  if (name === 'js') return `JS ${shown(value, 4)}`;
  if (name === 'temperature') return `T ${shown(value, 3)}`;
  if (name.startsWith('log P')) return `${name} ${shown(value, 2)}`;
  return `${name} ${value === null ? 'none' : Number(value.toPrecision(4))}`;
}

/** The numbers of one token as one line. */
report.numbersOf = (trace, i) => {
  const { shift } = report.SHADES;
  return [
    `token ${i + 1} of ${trace.texts.length} ${JSON.stringify(trace.texts[i])}`,
    ...Object.entries(trace.columns).map(([name, column]) => told(name, column[i])),
    ...(shift.of(trace) ? [`shift ${signed(shift.read(trace, i))}`] : []),
  ].join('   ');
};

/** The scale as steps of colour with the numbers under them. */
report.legend = (shade) => {
  const { stops, beyond, colour, told } = shade;
  const number = (value, index) => {
    const sign = beyond && index === 0 ? '≤ ' : beyond && index === stops.length - 1 ? '≥ ' : '';
    return sign + Number(Math.abs(value) < 100 ? value.toFixed(2) : value.toPrecision(3));
  };
  const steps = stops.map((value, index) => {
    const step = report.make('span', { class: 'step' }, number(value, index));
    step.style.backgroundColor = colour(index / (stops.length - 1));
    return step;
  });
  return report.make('span', { class: 'legend' }, ...steps, report.make('span', {}, told));
};
