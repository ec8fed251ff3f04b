/** Charts are drawn again when the theme or the width changes. */
const drawn = [];
report.chart = (id, options) => {
  const element = document.getElementById(id);
  const made = options();
  if (!made) {
    element.hidden = true;
    return;
  }
  if (made.height) element.style.height = `${made.height}px`;
  const chart = echarts.init(element, null, { renderer: 'canvas' });
  const draw = () => {
    const text = { color: report.css('--text') };
    const { height: _, ...rest } = options();
    chart.setOption(
      { animation: false, backgroundColor: 'transparent', textStyle: text, ...rest },
      true,
    );
  };
  draw();
  drawn.push({ chart, draw });
};
report.redraw = () => {
  for (const { draw } of drawn) draw();
};
let resizing;
window.addEventListener('resize', () => {
  clearTimeout(resizing);
  resizing = setTimeout(() => {
    for (const { chart } of drawn) chart.resize();
  }, 100);
});

const axis = (more) => ({
  axisLabel: { color: report.css('--soft') },
  axisLine: { lineStyle: { color: report.css('--line') } },
  splitLine: { lineStyle: { color: report.css('--line') } },
  nameTextStyle: { color: report.css('--soft') },
  ...more,
});
const legend = (more = {}) => ({ textStyle: { color: report.css('--text') }, top: 0, ...more });
const PALETTE = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9'];

const comparisons = (runs) =>
  runs.flatMap((run) =>
    (run.summary?.comparisons ?? []).map((comparison) => ({
      name: runs.length > 1 ? `${run.name}: ${comparison.method}` : comparison.method,
      rates: comparison.full,
    })),
  );

/** Wins, ties and losses as shares of the judged pairs; beside them the win rate with its interval. */
report.outcomes = (runs) => () => {
  const lines = comparisons(runs)
    .filter(({ rates }) => rates.judged > 0)
    .reverse();
  if (lines.length === 0) return null;
  const share = (name) => lines.map(({ rates }) => (100 * rates[name]) / rates.judged);
  const bar = (name, label, colour) => ({
    name: label,
    type: 'bar',
    stack: 'all',
    data: share(name),
    itemStyle: { color: report.css(colour) },
    barMaxWidth: 26,
    label: {
      show: true,
      color: colour === '--tie' ? report.css('--text') : '#ffffff',
      formatter: ({ dataIndex }) => lines[dataIndex].rates[name] || '',
    },
  });
  const names = lines.map(({ name }) => name);
  const rate = ({ rates: { winRate } }) =>
    [winRate.value, winRate.low, winRate.high].map((x) => 100 * x);
  return {
    height: 90 + 38 * lines.length,
    legend: legend({ data: ['win', 'tie', 'loss'] }),
    tooltip: { trigger: 'axis', axisPointer: { type: 'shadow' } },
    grid: [
      {
        left: 24 + 7 * Math.max(...names.map(({ length }) => length)),
        right: '36%',
        top: 34,
        bottom: 42,
      },
      { left: '68%', right: 24, top: 34, bottom: 42 },
    ],
    xAxis: [
      axis({
        type: 'value',
        max: 100,
        name: '% of judged pairs',
        nameLocation: 'middle',
        nameGap: 26,
      }),
      axis({
        type: 'value',
        min: -100,
        max: 100,
        gridIndex: 1,
        name: 'win rate %, 95% interval',
        nameLocation: 'middle',
        nameGap: 26,
      }),
    ],
    yAxis: [
      axis({ type: 'category', data: names, axisLabel: { color: report.css('--text') } }),
      axis({ type: 'category', data: names, gridIndex: 1, axisLabel: { show: false } }),
    ],
    series: [
      bar('wins', 'win', '--win'),
      bar('ties', 'tie', '--tie'),
      bar('losses', 'loss', '--loss'),
      {
        name: 'interval',
        type: 'custom',
        xAxisIndex: 1,
        yAxisIndex: 1,
        tooltip: { show: false },
        data: lines.map((line, index) => [index, ...rate(line)]),
        renderItem: (_, api) => {
          const y = api.coord([0, api.value(0)])[1];
          const [low, high] = [api.coord([api.value(2), 0])[0], api.coord([api.value(3), 0])[0]];
          const middle = api.coord([api.value(1), 0])[0];
          const line = (x1, y1, x2, y2) => ({
            type: 'line',
            shape: { x1, y1, x2, y2 },
            style: { stroke: report.css('--text'), lineWidth: 1.5 },
          });
          return {
            type: 'group',
            children: [
              line(low, y, high, y),
              line(low, y - 5, low, y + 5),
              line(high, y - 5, high, y + 5),
              {
                type: 'circle',
                shape: { cx: middle, cy: y, r: 4 },
                style: { fill: report.css('--text') },
              },
            ],
          };
        },
      },
    ],
  };
};

const BIN = 10;
const binned = (values) => {
  const counts = Array(100 / BIN).fill(0);
  for (const value of values) counts[Math.min(counts.length - 1, Math.floor(value / BIN))]++;
  return counts;
};

/** S of the base responses, and what the judge gave to each method. */
report.scores = (runs) => () => {
  const series = runs.flatMap((run) => {
    const prefix = runs.length > 1 ? `${run.name}: ` : '';
    const s = run.items.flatMap(({ score }) =>
      score && score.score !== undefined ? [score.score] : [],
    );
    const judged = (side, method) =>
      run.items.flatMap(({ verdicts }) =>
        verdicts[method]?.winner ? [verdicts[method][side]] : [],
      );
    return [
      ...(s.length > 0 ? [{ name: `${prefix}S of base`, values: s }] : []),
      ...run.methods
        .filter((method) => method !== 'base' && judged('method', method).length > 0)
        .map((method) => ({ name: `${prefix}judged ${method}`, values: judged('method', method) })),
    ];
  });
  if (series.length === 0) return null;
  return {
    color: PALETTE,
    legend: legend({ type: 'scroll' }),
    tooltip: { trigger: 'axis' },
    grid: { left: 8, right: 24, top: 40, bottom: 30, containLabel: true },
    xAxis: axis({
      type: 'category',
      data: Array.from({ length: 100 / BIN }, (_, i) => `${BIN * i}-${BIN * (i + 1)}`),
      name: 'score',
      nameLocation: 'middle',
      nameGap: 26,
    }),
    yAxis: axis({ type: 'value', name: 'items', minInterval: 1 }),
    series: series.map(({ name, values }) => ({
      name,
      type: 'bar',
      data: binned(values),
      barMaxWidth: 18,
    })),
  };
};

/** Medians with the band of the quartiles, a line for each method of each run. */
report.course = (runs, quantity, name) => () => {
  const courses = runs.flatMap((run) =>
    run.courses.map((course) => ({
      ...course,
      name: runs.length > 1 ? `${run.name}: ${course.method}` : course.method,
    })),
  );
  if (courses.length === 0) return null;
  return {
    height: 320,
    legend: legend({ type: 'scroll' }),
    tooltip: {
      trigger: 'axis',
      valueFormatter: (value) => (value === undefined ? '-' : Number(value).toPrecision(3)),
    },
    grid: { left: 8, right: 20, top: 40, bottom: 34, containLabel: true },
    xAxis: axis({
      type: 'value',
      name: 'token',
      nameLocation: 'middle',
      nameGap: 26,
      min: 1,
      max: 'dataMax',
      minInterval: 1,
    }),
    yAxis: axis({ type: 'value', name, scale: quantity === 'temperature' }),
    series: courses.flatMap((course, index) => {
      const color = PALETTE[index % PALETTE.length];
      const at = (pick) => course[quantity].map((quartiles, i) => [i + 1, pick(quartiles)]);
      const band = {
        type: 'line',
        stack: `band ${index}`,
        stackStrategy: 'all',
        symbol: 'none',
        silent: true,
        lineStyle: { opacity: 0 },
        tooltip: { show: false },
      };
      return [
        { ...band, data: at(([low]) => low) },
        { ...band, data: at(([low, , high]) => high - low), areaStyle: { color, opacity: 0.12 } },
        {
          name: course.name,
          type: 'line',
          symbol: course[quantity].length > 1 ? 'none' : 'circle',
          lineStyle: { color, width: 2, type: index % 2 === 0 ? 'solid' : 'dashed' },
          itemStyle: { color },
          data: at(([, median]) => median),
        },
      ];
    }),
  };
};
