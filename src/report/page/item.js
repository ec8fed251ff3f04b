/** The item that is chosen: the two sides of a view side by side, with each token shaded. */
report.itemPane = (pane, onLeave) => {
  const { make } = report;
  /** By its name, which is kept from item to item where that has it */
  let shade = report.SHADES.js.name;
  let shades = [];
  const chosen = () => shades.find(({ name }) => name === shade) ?? shades[0];

  function show(item, view) {
    if (!item) {
      pane.replaceChildren(make('p', { class: 'note' }, 'No item passes the filters.'));
      return;
    }
    const methods = [...new Set([view.against, view.method])].filter(
      (each) => item.responses[each],
    );
    const traces = methods.flatMap((each) => report.traceOf(item.responses[each].trace) ?? []);
    shades = report.shadesOf(traces);
    const answers = make(
      'div',
      { class: methods.length > 1 ? 'answers' : 'answers single' },
      ...methods.map((each) => answerOf(item, each)),
    );
    const facts = [`item ${item.id}`, ...report.labelsOf(item), ...scoreOf(item)];
    const parts = [
      make('p', { class: 'note' }, facts.join('  |  ')),
      item.gibberish &&
        make(
          'p',
          { class: 'bad' },
          `The base response is gibberish: ${item.gibberish}; not in the refined set.`,
        ),
      item.query && make('div', { class: 'query', dir: 'auto' }, item.query),
      verdictOf(item, view),
      answers.querySelector('.tokens') && shades.length > 0 && shadeBar(),
      answers,
    ];
    pane.replaceChildren(...parts.filter(Boolean));
    pane.scrollTop = 0;
  }

  function scoreOf({ score }) {
    if (!score) return [];
    if (score.failed) return [`score failed (${score.failed}): ${score.reason}`];
    return [`S ${score.score.toFixed(1)}`, `a ${score.a.toFixed(3)}`];
  }

  function verdictOf(item, view) {
    const verdict = item.verdicts[view.name];
    if (!verdict) return null;
    if (verdict.failed)
      return make('p', { class: 'bad' }, `Not judged (${verdict.failed}): ${verdict.reason}`);
    const { winner, consistent, leftOut } = verdict;
    const scores = `${verdict.method.toFixed(1)} against ${verdict.base.toFixed(1)}`;
    const notes = [
      consistent ? '' : '; the two orders disagree',
      leftOut === null ? '' : `; left out of the rates: ${leftOut}`,
    ];
    const text = `${report.nameOf(view)} ${report.OUTCOMES[winner]}: ${scores}${notes.join('')}`;
    return make('p', { class: `outcome-${winner}` }, text);
  }

  function shadeBar() {
    const choices = shades.map(({ name }, index) => {
      const input = make('input', { type: 'radio', name: 'shade', value: name });
      input.checked = name === chosen().name;
      input.addEventListener('change', () => reshade(name));
      return make('label', {}, input, index < 9 ? ` ${name} (${index + 1})` : ` ${name}`);
    });
    const numbers = make(
      'div',
      { id: 'numbers', role: 'status' },
      'Point at a token, or press t, for its numbers.',
    );
    return make(
      'div',
      { class: 'shade' },
      make('span', { role: 'radiogroup', 'aria-label': 'Shade by' }, 'Shade by ', ...choices),
      report.legend(chosen()),
      numbers,
    );
  }

  function answerOf(item, method) {
    const response = item.responses[method];
    const box = make('section', { class: 'answer', 'aria-label': method }, make('h3', {}, method));
    if (response.failed) {
      const text = `No response (${response.failed}): ${response.reason}`;
      box.append(make('p', { class: 'bad' }, text));
      return box;
    }
    const { tokens, words, finish, a, js, thinking, answer } = response;
    const facts = [
      `${tokens} tokens`,
      `${words} words`,
      finish === null ? '' : finish === 'stop' ? 'ended by itself' : `cut (${finish})`,
      a === null ? '' : `a ${a.toFixed(3)}`,
      js === null ? '' : `mean JS ${js.toFixed(4)}`,
    ];
    box.append(make('p', { class: 'note' }, facts.filter(Boolean).join('  |  ')));
    const folded = (title, content) => make('details', {}, make('summary', {}, title), content);
    const text = (value) => make('div', { class: 'text', dir: 'auto' }, value);
    const empty = answer === '' ? make('p', { class: 'note' }, '(empty answer)') : null;
    const trace = report.traceOf(response.trace);
    const start = trace && (thinking === '' ? 0 : report.answerStart(trace, answer));
    const parts =
      trace === null
        ? [thinking && folded('Thinking', text(thinking)), empty ?? text(answer)]
        : start === null
          ? [folded('All tokens', tokensOf(trace, [0, trace.texts.length])), empty ?? text(answer)]
          : [
              thinking && start === 0 && folded('Thinking', text(thinking)),
              start > 0 && folded(`Thinking, ${start} tokens`, tokensOf(trace, [0, start])),
              empty,
              start < trace.texts.length && tokensOf(trace, [start, trace.texts.length]),
            ];
    box.append(...parts.filter(Boolean));
    return box;
  }

  function tokensOf(trace, range) {
    const box = report.tokens(trace, range, chosen());
    box.addEventListener('mouseover', ({ target }) => {
      if (target.dataset.i) point(box, Number(target.dataset.i) - box.from);
    });
    box.addEventListener('focus', () => point(box, box.at ?? 0));
    box.addEventListener('keydown', (event) => {
      const to = {
        ArrowRight: (box.at ?? 0) + 1,
        ArrowLeft: (box.at ?? 0) - 1,
        Home: 0,
        End: box.children.length - 1,
      }[event.key];
      if (event.key === 'Escape') onLeave();
      if (to === undefined) return;
      event.preventDefault();
      point(box, to);
    });
    return box;
  }

  /** The token at a place of its box: marked, and its numbers told. */
  function point(box, place) {
    const { length } = box.children;
    if (length === 0) return;
    box.at = Math.max(0, Math.min(length - 1, place));
    pane.querySelector('.tokens span.current')?.classList.remove('current');
    box.children[box.at].classList.add('current');
    pane.querySelector('#numbers').textContent = report.numbersOf(box.trace, box.from + box.at);
  }

  function reshade(name) {
    shade = name;
    const now = chosen();
    if (!now) return;
    for (const box of pane.querySelectorAll('.tokens')) report.shade(box, now);
    pane.querySelector('.legend')?.replaceWith(report.legend(now));
    for (const input of pane.querySelectorAll('input[name="shade"]'))
      input.checked = input.value === now.name;
  }

  return {
    show,
    reshade: () => reshade(shade),
    /** By the place of a way to shade; false where there is none. */
    shadeBy(place) {
      const found = shades[place];
      if (found) reshade(found.name);
      return found !== undefined;
    },
    /** To the tokens of the method, else of base; folded ones are opened. */
    toTokens() {
      const box = [...pane.querySelectorAll('.tokens')].at(-1);
      const folded = box?.closest('details');
      if (folded) folded.open = true;
      box?.focus();
    },
  };
};
