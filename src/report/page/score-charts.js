/** Histograms, one a panel: S of the base responses, and what the judge gave to both sides of each comparison. */
report.scores = (parent, runs) => {
  const WIDTH = 10;
  const BINS = 100 / WIDTH;
  const histogram = (values) => {
    const counts = Array(BINS).fill(0);
    for (const value of values) counts[Math.min(BINS - 1, Math.floor(value / WIDTH))]++;
    return counts;
  };
  for (const run of runs) {
    const panels = panelsOf(run);
    if (panels.length === 0) continue;
    const box = report.make('div', { class: 'panels' });
    if (runs.length > 1) parent.append(report.make('h4', {}, run.name));
    parent.append(box);
    for (const panel of panels) draw(box, panel);
  }

  function panelsOf({ items, views }) {
    const scores = items.flatMap(({ score }) => score?.score ?? []);
    const judged = views
      .map((view) => ({
        ...view,
        verdicts: items
          .flatMap(({ verdicts }) => verdicts[view.name] ?? [])
          .filter(({ winner, leftOut }) => winner && leftOut === null),
      }))
      .filter(({ verdicts }) => verdicts.length > 0);
    return [
      ...(scores.length > 0
        ? [{ title: 'S of base', series: [{ name: 'S', counts: histogram(scores) }] }]
        : []),
      ...judged.map(({ method, against, verdicts }) => ({
        title: `${method} and ${against}, as judged`,
        series: [
          { name: against, counts: histogram(verdicts.map(({ base }) => base)), hollow: true },
          { name: method, counts: histogram(verdicts.map((verdict) => verdict.method)) },
        ],
      })),
    ];
  }

  function draw(box, { title, series }) {
    const element = report.chartBox(box, {
      title,
      told: `${title}: ${series.map(({ name, counts }) => `${name} ${counts.join(' ')}`).join('; ')} (items in steps of ${WIDTH} from 0 to 100)`,
      height: 170,
    });
    report.chart(element, () => ({
      legend: series.length > 1 ? report.legendStyle({ itemWidth: 14 }) : undefined,
      tooltip: report.tooltipStyle(),
      grid: { left: 4, right: 10, top: series.length > 1 ? 34 : 14, bottom: 4, containLabel: true },
      xAxis: report.axisStyle({
        type: 'category',
        data: Array.from({ length: BINS }, (_, i) => `${WIDTH * i}-${WIDTH * (i + 1)}`),
        axisLabel: { color: report.css('--soft'), formatter: (range) => range.split('-')[0] },
      }),
      yAxis: report.axisStyle({ type: 'value', minInterval: 1 }),
      series: series.map(({ name, counts, hollow = false }) => ({
        name,
        type: 'bar',
        data: counts,
        barGap: '0%',
        barCategoryGap: '20%',
        itemStyle: barStyle(hollow),
      })),
    }));
  }

  /** What a method is measured against is hollow: told apart without colour. */
  function barStyle(hollow) {
    if (hollow) return { color: 'transparent', borderColor: report.css('--text'), borderWidth: 1 };
    return { color: report.css('--win'), borderColor: report.css('--win'), borderWidth: 1 };
  }
};
