/** Wins, ties and losses as shares of the judged pairs; beside them the win rate with its interval. */
report.outcomes = (parent, runs) => {
  const lines = runs
    .flatMap((run) =>
      (run.summary?.comparisons ?? []).map((comparison) => ({
        name: `${runs.length > 1 ? `${run.name}: ` : ''}${report.nameOf(comparison)}`,
        rates: comparison.full,
      })),
    )
    .filter(({ rates }) => rates.judged > 0)
    .reverse();
  if (lines.length === 0) return;
  const element = report.chartBox(parent, {
    told: 'Wins, ties and losses of each method; the table above has the numbers',
    height: 90 + 32 * lines.length,
  });
  report.chart(element, () => options(lines, element.clientWidth));

  function options(rows, width) {
    const names = rows.map(({ name }) => name);
    const longest = Math.max(...names.map(({ length }) => length));
    const left = Math.min(24 + 7 * longest, Math.round(width * 0.3));
    const middle = Math.round(left + (width - left) * 0.58);
    return {
      legend: report.legendStyle({ data: ['win', 'tie', 'loss'], left }),
      tooltip: report.tooltipStyle({
        axisPointer: { type: 'shadow' },
        valueFormatter: (value) => `${value.toFixed(1)}%`,
      }),
      grid: [
        { left, width: middle - left - 26, top: 34, bottom: 44 },
        { left: middle + 22, right: 24, top: 34, bottom: 44 },
      ],
      xAxis: [
        report.axisStyle({ max: 100, ...named('% of judged pairs', '--soft') }),
        report.axisStyle({
          min: -100,
          max: 100,
          interval: 50,
          gridIndex: 1,
          ...named('win rate %, 95%'),
        }),
      ],
      yAxis: [
        report.axisStyle({
          type: 'category',
          data: names,
          axisTick: { show: false },
          axisLabel: { color: report.css('--text'), width: left - 16, overflow: 'break' },
        }),
        report.axisStyle({
          type: 'category',
          data: names,
          gridIndex: 1,
          axisTick: { show: false },
          axisLabel: { show: false },
          axisLine: { show: false },
        }),
      ],
      series: [
        bar(rows, 'wins', 'win'),
        bar(rows, 'ties', 'tie'),
        bar(rows, 'losses', 'loss'),
        intervals(rows),
      ],
    };
  }

  function named(name) {
    return { type: 'value', name, nameLocation: 'middle', nameGap: 26 };
  }

  function bar(rows, count, outcome) {
    return {
      name: outcome,
      type: 'bar',
      stack: 'all',
      data: rows.map(({ rates }) => (100 * rates[count]) / rates.judged),
      itemStyle: { color: report.css(`--${outcome}`) },
      barMaxWidth: 22,
      label: {
        show: true,
        color: report.css(`--on-${outcome}`),
        // a number that does not fit is in the table
        formatter: ({ dataIndex, value }) => (value < 5 ? '' : rows[dataIndex].rates[count]),
      },
    };
  }

  function intervals(rows) {
    const line = (x1, y1, x2, y2) => ({
      type: 'line',
      shape: { x1, y1, x2, y2 },
      style: { stroke: report.css('--text'), lineWidth: 1.5 },
    });
    return {
      type: 'custom',
      xAxisIndex: 1,
      yAxisIndex: 1,
      silent: true,
      tooltip: { show: false },
      markLine: {
        silent: true,
        symbol: 'none',
        label: { show: false },
        lineStyle: { color: report.css('--soft'), type: 'solid', width: 1 },
        data: [{ xAxis: 0 }],
      },
      data: rows.map(({ rates: { winRate } }, index) => [
        index,
        ...[winRate.value, winRate.low, winRate.high].map((rate) => 100 * rate),
      ]),
      renderItem: (_, api) => {
        const y = api.coord([0, api.value(0)])[1];
        const [middle, low, high] = [1, 2, 3].map((at) => api.coord([api.value(at), 0])[0]);
        const point = {
          type: 'circle',
          shape: { cx: middle, cy: y, r: 4 },
          style: { fill: report.css('--text') },
        };
        const ends = [low, high].map((x) => line(x, y - 5, x, y + 5));
        return { type: 'group', children: [line(low, y, high, y), ...ends, point] };
      },
    };
  }
};
