/** The list of items. It holds the rows in sight alone; `onChoose` is told of the item that was moved to. */
report.itemList = (list, onChoose) => {
  const { make } = report;
  const ROW = 46; // as in page.css
  let rows = [];
  let view = null;
  let chosen = 0;

  /** The rows in sight, and a few around them. */
  function draw() {
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 5);
    const last = Math.min(rows.length, first + Math.ceil(list.clientHeight / ROW) + 10);
    const space = make('div', { role: 'presentation' });
    space.style.height = `${rows.length * ROW}px`;
    const shown = rows.slice(first, last).map((item, at) => rowOf(item, first + at));
    list.replaceChildren(space, ...shown);
    if (rows.length > 0) list.setAttribute('aria-activedescendant', `row-${chosen}`);
    else list.removeAttribute('aria-activedescendant');
  }

  function rowOf(item, index) {
    const outcome = report.outcomeOf(item, view);
    const gap = report.gapOf(item, view);
    const score = report.scoreOf(item);
    const meta = [
      score !== null ? `S ${score.toFixed(0)}` : item.score ? 'S failed' : '',
      gap === null ? '' : `${gap > 0 ? '+' : ''}${gap.toFixed(0)}`,
      item.id,
    ];
    const row = make(
      'div',
      {
        class: 'row',
        id: `row-${index}`,
        role: 'option',
        'aria-selected': String(index === chosen),
        'aria-posinset': String(index + 1),
        'aria-setsize': String(rows.length),
      },
      make('div', { class: 'query', dir: 'auto' }, item.query.slice(0, 200) || item.id),
      make(
        'div',
        { class: 'meta' },
        make('span', { class: `outcome-${outcome}` }, report.OUTCOMES[outcome]),
        ` ${meta.filter(Boolean).join('  ')}`,
      ),
    );
    row.style.top = `${index * ROW}px`;
    row.addEventListener('click', () => choose(index));
    return row;
  }

  function choose(index) {
    if (rows.length === 0) return;
    chosen = Math.max(0, Math.min(rows.length - 1, index));
    const top = chosen * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + ROW > list.scrollTop + list.clientHeight)
      list.scrollTop = top + ROW - list.clientHeight;
    draw();
    onChoose(rows[chosen]);
  }

  list.addEventListener('scroll', draw);
  list.addEventListener('keydown', (event) => {
    const page = Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
    const to = {
      ArrowDown: chosen + 1,
      ArrowUp: chosen - 1,
      Home: 0,
      End: rows.length - 1,
      PageDown: chosen + page,
      PageUp: chosen - page,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(to);
  });

  return {
    /** Other rows; the item that is chosen stays so where it is still among them. */
    set(items, ofView) {
      const before = rows[chosen];
      rows = items;
      view = ofView;
      chosen = Math.max(0, rows.indexOf(before));
      list.scrollTop = Math.max(0, (chosen - 3) * ROW);
      draw();
    },
    move: (by) => choose(chosen + by),
    /** @returns whether the item is in the list */
    find(id) {
      const index = rows.findIndex((item) => item.id === id);
      if (index >= 0) choose(index);
      return index >= 0;
    },
    chosen: () => rows[chosen],
    focus: () => list.focus(),
  };
};
