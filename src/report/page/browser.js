/** The list of items, which draws the rows in sight alone, and the item that is chosen. */
report.browser = (runs) => {
  const { make } = report;
  const by = (id) => document.getElementById(id);
  const [list, pane] = [by('list'), by('item')];
  const ROW = 46;
  const state = { run: 0, method: '', shade: 'js', rows: [], chosen: 0 };

  const OUTCOMES = { method: 'win', base: 'loss', tie: 'tie' };
  const outcomeOf = (item) => {
    const verdict = item.verdicts[state.method];
    if (!verdict) return 'none';
    return verdict.failed ? 'failed' : verdict.winner;
  };
  const gapOf = (item) => {
    const verdict = item.verdicts[state.method];
    return verdict?.winner ? verdict.method - verdict.base : null;
  };
  const scoreOf = (item) => item.score?.score ?? null;
  const jsOf = (item) => item.responses[state.method]?.js ?? null;
  const order = { order: null, score: scoreOf, gap: gapOf, js: jsOf };

  // what is searched, made once for each item
  const texts = new Map();
  const textOf = (item) => {
    let text = texts.get(item);
    if (text === undefined) {
      const answers = Object.values(item.responses).map(({ answer = '' }) => answer);
      text = [item.id, item.query, ...answers].join('\n').toLowerCase();
      texts.set(item, text);
    }
    return text;
  };

  function filter() {
    const wanted = by('search').value.trim().toLowerCase();
    const outcome = by('outcome').value;
    const label = by('label').value;
    const bound = (id, otherwise) => (by(id).value === '' ? otherwise : Number(by(id).value));
    const [from, to] = [bound('score-from', null), bound('score-to', null)];
    const rows = runs[state.run].items.filter((item) => {
      if (outcome && outcomeOf(item) !== outcome) return false;
      if (
        label &&
        !Object.entries(item.labels).some(([name, value]) => `${name}: ${value}` === label)
      )
        return false;
      const score = scoreOf(item);
      if (from !== null && !(score !== null && score >= from)) return false;
      if (to !== null && !(score !== null && score <= to)) return false;
      return wanted === '' || textOf(item).includes(wanted);
    });
    const value = order[by('sort').value];
    if (value) {
      const rank = (item) => value(item) ?? Number.NEGATIVE_INFINITY;
      rows.sort((a, b) => rank(b) - rank(a));
    }
    const before = state.rows[state.chosen];
    state.rows = rows;
    state.chosen = Math.max(0, rows.indexOf(before));
    by('shown').value = `${rows.length} of ${runs[state.run].items.length} items`;
    list.scrollTop = Math.max(0, (state.chosen - 3) * ROW);
    draw();
    show();
  }

  /** The rows in sight, and a few around them. */
  function draw() {
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 5);
    const last = Math.min(state.rows.length, first + Math.ceil(list.clientHeight / ROW) + 10);
    const space = make('div', { 'aria-hidden': 'true' });
    space.style.height = `${state.rows.length * ROW}px`;
    const rows = [];
    for (let index = first; index < last; index++) rows.push(rowOf(state.rows[index], index));
    list.replaceChildren(space, ...rows);
    list.setAttribute('aria-activedescendant', `row-${state.chosen}`);
  }

  function rowOf(item, index) {
    const outcome = outcomeOf(item);
    const gap = gapOf(item);
    const score = scoreOf(item);
    const meta = [
      score === null ? null : `S ${score.toFixed(0)}`,
      gap === null ? null : `${gap > 0 ? '+' : ''}${gap.toFixed(0)}`,
    ];
    const row = make(
      'div',
      {
        class: 'row',
        id: `row-${index}`,
        role: 'option',
        'aria-selected': String(index === state.chosen),
        'aria-posinset': String(index + 1),
        'aria-setsize': String(state.rows.length),
      },
      make('div', { class: 'query' }, item.query || item.id),
      make(
        'div',
        { class: 'meta' },
        make(
          'span',
          { class: `outcome-${outcome}` },
          OUTCOMES[outcome] ?? (outcome === 'failed' ? 'failed' : ''),
        ),
        ` ${meta.filter(Boolean).join('  ')}  ${item.id}`,
      ),
    );
    row.style.top = `${index * ROW}px`;
    row.addEventListener('click', () => choose(index));
    return row;
  }

  function choose(index) {
    if (state.rows.length === 0) return;
    state.chosen = Math.max(0, Math.min(state.rows.length - 1, index));
    const top = state.chosen * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + ROW > list.scrollTop + list.clientHeight)
      list.scrollTop = top + ROW - list.clientHeight;
    draw();
    show();
  }

  /** The chosen item: base and method side by side. */
  function show() {
    const item = state.rows[state.chosen];
    if (!item) {
      pane.replaceChildren(make('p', { class: 'note' }, 'No item passes the filters.'));
      return;
    }
    history.replaceState(
      null,
      '',
      `#item=${encodeURIComponent(item.id)}${runs.length > 1 ? `&run=${state.run}` : ''}`,
    );
    const labels = Object.entries(item.labels).map(([name, value]) => `${name}: ${value}`);
    const { score } = item;
    const scored = !score
      ? []
      : score.failed
        ? [`score failed (${score.failed}): ${score.reason}`]
        : [`S ${score.score.toFixed(1)}`, `a ${score.a.toFixed(3)}`];
    const methods = [...new Set(['base', state.method])].filter((method) => item.responses[method]);
    const answers = make(
      'div',
      { class: methods.length > 1 ? 'answers' : 'answers single' },
      ...methods.map((method) => answerOf(item, method)),
    );
    const shades = Object.entries(report.SHADES).map(([key, { name }], index) => {
      const input = make('input', { type: 'radio', name: 'shade', value: key });
      input.checked = key === state.shade;
      input.addEventListener('change', () => reshade(key));
      return make('label', {}, input, ` ${name} (${index + 1})`);
    });
    const traced = answers.querySelector('.tokens') !== null;
    const numbers = make(
      'div',
      { id: 'numbers', role: 'status' },
      'Point at a token, or press t, for its numbers.',
    );
    const parts = [
      make('p', { class: 'note' }, [`item ${item.id}`, ...labels, ...scored].join('  |  ')),
      item.gibberish &&
        make(
          'p',
          { class: 'bad' },
          `The base response is gibberish: ${item.gibberish}; not in the refined set.`,
        ),
      item.query && make('div', { class: 'query' }, item.query),
      verdictOf(item),
      traced &&
        make('div', { class: 'shade' }, 'Shade by', ...shades, report.legend(state.shade), numbers),
      answers,
    ];
    pane.replaceChildren(...parts.filter(Boolean));
    pane.scrollTop = 0;
  }

  function verdictOf(item) {
    const verdict = item.verdicts[state.method];
    if (!verdict) return null;
    if (verdict.failed)
      return make('p', { class: 'bad' }, `Not judged (${verdict.failed}): ${verdict.reason}`);
    const { winner, method, base, consistent } = verdict;
    const text = `${state.method} ${OUTCOMES[winner]}: ${method.toFixed(1)} against ${base.toFixed(1)}${consistent ? '' : '; the two orders disagree'}`;
    return make('p', { class: `outcome-${winner}` }, text);
  }

  function answerOf(item, method) {
    const response = item.responses[method];
    const box = make('section', { class: 'answer', 'aria-label': method }, make('h3', {}, method));
    if (response.failed) {
      box.append(
        make('p', { class: 'bad' }, `No response (${response.failed}): ${response.reason}`),
      );
      return box;
    }
    const { tokens, words, finish, a, js } = response;
    const facts = [
      `${tokens} tokens`,
      `${words} words`,
      finish === 'stop' ? 'ended by itself' : `cut (${finish})`,
    ];
    if (a !== null) facts.push(`a ${a.toFixed(3)}`);
    if (js !== null) facts.push(`mean JS ${js.toFixed(4)}`);
    box.append(make('p', { class: 'note' }, facts.join('  |  ')));
    const trace = report.traceOf(response.trace);
    if (response.thinking)
      box.append(
        make(
          'details',
          {},
          make('summary', {}, 'Thinking'),
          make('div', { class: 'text' }, response.thinking),
        ),
      );
    if (!trace) box.append(make('div', { class: 'text' }, response.answer || '(empty)'));
    else if (response.thinking)
      box.append(
        make('div', { class: 'text' }, response.answer),
        make('details', {}, make('summary', {}, 'All tokens, thinking included'), tokensOf(trace)),
      );
    else box.append(tokensOf(trace));
    return box;
  }

  function tokensOf(trace) {
    const box = report.tokens(trace, state.shade);
    box.addEventListener('mouseover', ({ target }) => {
      if (target.dataset.i) point(box, Number(target.dataset.i));
    });
    box.addEventListener('focus', () => point(box, box.at ?? 0));
    box.addEventListener('keydown', (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === 'Escape') list.focus();
      if (step === undefined) return;
      event.preventDefault();
      point(box, (box.at ?? 0) + step);
    });
    return box;
  }

  function point(box, index) {
    const { length } = box.trace[0];
    if (length === 0) return;
    box.at = Math.max(0, Math.min(length - 1, index));
    pane.querySelector('.tokens span.current')?.classList.remove('current');
    box.children[box.at].classList.add('current');
    by('numbers').textContent = report.numbersOf(box.trace, box.at);
  }

  /** Those of the method, else of base; folded ones are opened. */
  function toTokens() {
    const box = [...pane.querySelectorAll('.tokens')].at(-1);
    const folded = box?.closest('details');
    if (folded) folded.open = true;
    box?.focus();
  }

  function reshade(name) {
    state.shade = name;
    for (const box of pane.querySelectorAll('.tokens')) report.shade(box, name);
    const old = pane.querySelector('.legend');
    old?.replaceWith(report.legend(name));
    for (const input of pane.querySelectorAll('input[name="shade"]'))
      input.checked = input.value === name;
  }

  function openRun(index) {
    state.run = index;
    by('run').value = String(index);
    const run = runs[index];
    const methods =
      run.methods.length > 1 ? run.methods.filter((method) => method !== 'base') : run.methods;
    by('method').replaceChildren(
      ...methods.map((method) => make('option', { value: method }, method)),
    );
    state.method = methods.includes('sda') ? 'sda' : (methods[0] ?? '');
    by('method').value = state.method;
    const labels = [
      ...new Set(
        run.items.flatMap(({ labels: each }) =>
          Object.entries(each).map(([name, value]) => `${name}: ${value}`),
        ),
      ),
    ].sort();
    by('label').replaceChildren(
      make('option', { value: '' }, 'all'),
      ...labels.slice(0, 500).map((label) => make('option', { value: label }, label)),
    );
    filter();
  }

  function nextMethod() {
    const select = by('method');
    select.selectedIndex = (select.selectedIndex + 1) % select.length;
    state.method = select.value;
    filter();
  }

  by('run').replaceChildren(
    ...runs.map(({ name }, index) => make('option', { value: String(index) }, name)),
  );
  by('run').addEventListener('change', ({ target }) => openRun(Number(target.value)));
  by('method').addEventListener('change', ({ target }) => {
    state.method = target.value;
    filter();
  });
  for (const id of ['outcome', 'label', 'sort', 'score-from', 'score-to', 'search'])
    by(id).addEventListener('input', filter);
  by('filters').addEventListener('submit', (event) => event.preventDefault());
  list.addEventListener('scroll', draw);
  list.addEventListener('keydown', (event) => {
    const page = Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
    const to = {
      ArrowDown: state.chosen + 1,
      ArrowUp: state.chosen - 1,
      Home: 0,
      End: state.rows.length - 1,
      PageDown: state.chosen + page,
      PageUp: state.chosen - page,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(to);
  });
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || by('keys').open) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== 'radio')
      return;
    const shade = Object.keys(report.SHADES)[Number(event.key) - 1];
    if (event.key === 'j') choose(state.chosen + 1);
    else if (event.key === 'k') choose(state.chosen - 1);
    else if (event.key === 'm') nextMethod();
    else if (event.key === 't') toTokens();
    else if (event.key === '/') by('search').focus();
    else if (event.key === '?') by('keys').showModal();
    else if (shade) reshade(shade);
    else return;
    event.preventDefault();
  });

  /** From #item=ID&run=N. */
  function fromAddress() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const run = Number(wanted.get('run') ?? 0);
    openRun(Number.isInteger(run) && runs[run] ? run : 0);
    const id = wanted.get('item');
    const index = id === null ? -1 : state.rows.findIndex((item) => item.id === id);
    if (index < 0) return;
    choose(index);
    by('items').scrollIntoView();
  }
  window.addEventListener('hashchange', () => {
    if (location.hash.startsWith('#item=')) fromAddress();
  });
  fromAddress();
  return { reshade: () => show() };
};
