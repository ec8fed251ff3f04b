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

const COLUMNS = ['js', 'temperature', 'logpBase', 'logpInstructed', 'logp'];
const SCALES = [1e4, 1e3, 100, 100, 100];
const NO_NUMBER = -32768;

/** A trace, read when it is looked at: `texts`, and columns of numbers or null. */
let traceLines;
report.traceOf = (line) => {
  if (line === null || line === undefined) return null;
  traceLines ??= document.getElementById('traces').textContent.split('\n');
  const [texts, numbers] = JSON.parse(traceLines[line]);
  const bytes = Uint8Array.from(atob(numbers), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const trace = { texts };
  COLUMNS.forEach((name, column) => {
    trace[name] = texts.map((_, token) => {
      const units = view.getInt16(2 * (column * texts.length + token), true);
      return units === NO_NUMBER ? null : units / SCALES[column];
    });
  });
  return trace;
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

report.shade = (box, name) => {
  const { read, place, colour } = report.SHADES[name];
  for (const span of box.children) {
    const value = read(box.trace, Number(span.dataset.i));
    span.classList.toggle('unknown', value === null);
    span.style.backgroundColor = value === null ? 'transparent' : colour(place(value));
  }
};

const shown = (value, digits) => (value === null ? 'none' : value.toFixed(digits));

/** The numbers of one token as one line. */
report.numbersOf = (trace, i) => {
  const shift = report.SHADES.shift.read(trace, i);
  return [
    `token ${i + 1} of ${trace.texts.length} ${JSON.stringify(trace.texts[i])}`,
    `JS ${shown(trace.js[i], 4)}`,
    `T ${shown(trace.temperature[i], 3)}`,
    `log P1 ${shown(trace.logpBase[i], 2)}`,
    `log P2 ${shown(trace.logpInstructed[i], 2)}`,
    `log P' ${shown(trace.logp[i], 2)}`,
    `shift ${shift === null ? 'none' : (shift > 0 ? '+' : '') + shift.toFixed(2)}`,
  ].join('   ');
};

/** The scale as steps of colour with the numbers under them. */
report.legend = (name) => {
  const { stops, beyond, colour, told } = report.SHADES[name];
  const number = (value, index) => {
    const sign = beyond && index === 0 ? '≤ ' : beyond && index === stops.length - 1 ? '≥ ' : '';
    return sign + Number(value.toFixed(2));
  };
  const steps = stops.map((value, index) => {
    const step = report.make('span', { class: 'step' }, number(value, index));
    step.style.backgroundColor = colour(index / (stops.length - 1));
    return step;
  });
  return report.make('span', { class: 'legend' }, ...steps, report.make('span', {}, told));
};
